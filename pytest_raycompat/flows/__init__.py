"""The flows, each a standalone program, and the runner that starts them.

A flow runs in the environment under test: beside what it tests it uses the standard library alone.
"""
