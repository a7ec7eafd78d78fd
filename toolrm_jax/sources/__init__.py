"""Readers that turn published data sets into Tasks, by name."""

from toolrm_jax.sources.drops import Drops
from toolrm_jax.sources.registry import SOURCES, Source, read, read_candidates, source

__all__ = ["SOURCES", "Drops", "Source", "read", "read_candidates", "source"]
