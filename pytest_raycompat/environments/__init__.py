"""Environments of pairs: what a pair of Ray and vLLM needs, built with uv, kept as long as there is room."""
