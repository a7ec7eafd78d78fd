"""Compiled programs kept on disk, so that a restart does not compile again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jax


def keep_compiled(folder: Path) -> None:
    """Keep what takes a second or more to compile under `folder`, unless the environment names a cache of its own.

    One folder for each kind of device: a CPU's code is for its own instructions, and another may know fewer.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    device = jax.devices()[0]
    kind = _cpu() if device.platform == "cpu" else device.device_kind
    jax.config.update("jax_compilation_cache_dir", str(folder / kind.replace(" ", "_").replace("/", "_")))


def _cpu() -> str:
    """A name for the instructions that this machine's CPU knows."""
    about = Path("/proc/cpuinfo")
    flags = (
        next((line for line in about.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
        if (about.exists())
        else ""
    )
    return "cpu-" + hashlib.sha256(flags.encode()).hexdigest()[:12]
