"""Pairs of Ray and vLLM, measured one by one: each a cell whose report is a file."""
