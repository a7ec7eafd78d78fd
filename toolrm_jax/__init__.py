"""Reward models for tool-calling language models, in JAX: from public data to a served model."""

__version__ = "0.1.0"
