"""A model on Ray Serve LLM."""
