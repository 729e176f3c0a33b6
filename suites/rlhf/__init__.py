"""A trainer and vLLM engines side by side on Ray."""
