"""How fast a step was and what it held: tokens and pairs per second, the share of the peak used, memory."""

from __future__ import annotations

import re
import resource
import sys

import jax

from toolrm_jax.models.config import TrunkConfig
from toolrm_jax.models.declarations import flops_per_token
from toolrm_jax.parallel.topology import CHIPS

GIB = 2**30
# Dense bfloat16 FLOP/s of one device, by whole words of its name, the first that fits: the makers' data sheets, and for
# TPUs `topology.CHIPS`.
PEAKS = {
    "GB200": 2500e12,
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "TPU v5 lite": CHIPS["v5e"].flops,
    "TPU v5e": CHIPS["v5e"].flops,
    "TPU v6 lite": CHIPS["v6e"].flops,
    "TPU v6e": CHIPS["v6e"].flops,
    "TPU v5": CHIPS["v5p"].flops,
    "TPU v5p": CHIPS["v5p"].flops,
    "TPU7x": CHIPS["tpu7x"].flops / CHIPS["tpu7x"].devices,
}


def peak(device: jax.Device) -> float | None:
    """Dense bfloat16 FLOP/s of a device; None for one whose name is not known, such as a CPU."""
    if device.platform == "cpu":
        return None
    named = lambda name: re.search(rf"\b{name}\b", device.device_kind, re.IGNORECASE)  # noqa: E731
    return next((flops for name, flops in PEAKS.items() if named(name)), None)


def step_speed(
    shape: TrunkConfig,
    frozen_layers: int,
    adapters: int,
    seconds: float,
    tokens: int,
    pairs: float,
    keys: float,
    predicted: float,
    devices: list[jax.Device],
) -> dict[str, float]:
    """Rates of a step of `seconds`. keys: seen by all its tokens together; predicted: tokens whose logits were made.

    adapters: how many values they have, 0 where the weights themselves are trained.

    `mfu` (Chowdhery et al. 2022) counts useful operations alone, not padding, recomputation or what the mask hides; it
    is left out where the peak is not known.
    """
    found = {"seconds": seconds, "tokens_per_second": tokens / seconds, "pairs_per_second": pairs / seconds}
    limit = peak(devices[0])
    if limit and tokens:
        each = flops_per_token(
            shape,
            keys / tokens,
            train=True,
            frozen_layers=frozen_layers,
            predicted=predicted / tokens,
            adapters=adapters,
        )
        found["mfu"] = each * tokens / seconds / (limit * len(devices))
    return found | {"memory_gib": peak_memory() / GIB}


def peak_memory() -> int:
    """The most bytes held so far: of this process's fullest accelerator, or of the process where there is none."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    used = [found["peak_bytes_in_use"] for found in stats if found and "peak_bytes_in_use" in found]
    if used:
        return max(used)
    # Kibibytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
