"""Ray clusters: what one is to the rest of the plugin, and one module for each way to have one.

Nothing is imported here: the observer runs in the environment under test, which has none of our dependencies.
"""
