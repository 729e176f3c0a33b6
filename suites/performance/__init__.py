"""Tensor-parallel generate: the main job."""
