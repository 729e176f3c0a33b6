"""Environments for hosts without a network: ``raycompat pack``.

An environment is resolved and fetched on a machine that reaches a package index, cut into parts that can be copied over
one by one, and put together on the host by a program that travels with them.
"""
