"""Engines and servers across Ray nodes."""
