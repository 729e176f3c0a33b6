"""Ray's compiled graph, as vLLM uses it."""
