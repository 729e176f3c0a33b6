"""Finds the release where a verdict changes."""
