"""Engines in parallel, as Ray actors."""
