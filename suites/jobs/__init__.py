"""vLLM in a Ray Job."""
