"""Batch inference with Ray Data's LLM processor."""
