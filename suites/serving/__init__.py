"""vLLM's OpenAI-compatible server on Ray."""
