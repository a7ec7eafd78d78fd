"""Rotary positions and their scalings to longer contexts (linear, YaRN, Llama 3's), as transformers computes them.

Shape letters: B rows, T tokens of a row, N heads, H head_dim.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from toolrm_jax.errors import ModelError

Kind = Literal["default", "linear", "llama3", "yarn"]
_NEEDS = {"default": (), "linear": ("factor",), "yarn": ("factor",)}
_NEEDS["llama3"] = ("factor", "low_freq_factor", "high_freq_factor")


def rope_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary settings of a `config.json`: `rope_parameters` since transformers 5, `rope_scaling` before."""
    return dict(config.get("rope_parameters") or config.get("rope_scaling") or {})


@dataclasses.dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies change for longer contexts; field names are those of Hugging Face.

    `original_max_position_embeddings` is the context that the model was pretrained for. `attention_factor` (YaRN)
    multiplies cosines and sines; None: 0.1 ln(factor) + 1, or the ratio of the two mscales where both are given.
    """

    kind: Kind = "default"
    factor: float = 1.0
    original_max_position_embeddings: int = 0
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any]) -> RopeScaling:
        """Read the scaling of a `config.json`. Raises ModelError for a kind or setting that is not known."""
        given = rope_settings(config)
        given.pop("rope_theta", None)
        kind, older = given.pop("rope_type", None), given.pop("type", None)
        kind = kind or older or "default"
        if kind not in get_args(Kind):
            raise ModelError(f"rotary scaling {kind!r} is not supported; known: {', '.join(get_args(Kind))}")
        part = given.pop("partial_rotary_factor", None) or config.get("partial_rotary_factor") or 1.0
        if part != 1:
            raise ModelError(f"partial_rotary_factor {part} is not supported; only 1 is")
        if missing := [key for key in _NEEDS[kind] if given.get(key) is None]:
            raise ModelError(f"rotary scaling {kind!r} needs {missing[0]}, which is missing")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(given) - known):
            raise ModelError(f"rotary setting {unknown[0]!r} is not known; remove it if {kind} has no such")
        # A null stands for the default, as in transformers; so does no original length for the model's own.
        given = {key: value for key, value in given.items() if value is not None}
        if kind in ("yarn", "llama3"):
            given.setdefault("original_max_position_embeddings", config.get("max_position_embeddings", 2048))
        return cls(kind=kind, **given)

    def __post_init__(self) -> None:
        length = self.original_max_position_embeddings
        if not isinstance(length, int) or length < (self.kind in ("yarn", "llama3")):
            raise ModelError(
                f"rotary scaling: original_max_position_embeddings is {length!r}, expected a positive whole number"
            )
        for field in ("factor", "attention_factor", "beta_fast", "beta_slow", "low_freq_factor", "high_freq_factor"):
            value = getattr(self, field)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise ModelError(f"rotary scaling: {field} is {value!r}, expected a positive number")
        if self.high_freq_factor <= self.low_freq_factor:
            raise ModelError(
                f"rotary scaling: high_freq_factor {self.high_freq_factor} is not above low_freq_factor "
                f"{self.low_freq_factor}"
            )

    @property
    def attention_scale(self) -> float:
        """What cosines and sines are multiplied by: scores grow by its square."""
        if self.kind != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        grown = lambda scale: 0.1 * scale * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0  # noqa: E731
        if self.mscale and self.mscale_all_dim:
            return grown(self.mscale) / grown(self.mscale_all_dim)
        return grown(1.0)

    def frequencies(self, theta: float, head_dim: int) -> Float[np.ndarray, " H/2"]:
        """Radians per position of each pair, float32. `theta` is the base of the unscaled ones."""
        base = 1.0 / theta ** (np.arange(0, head_dim, 2) / head_dim)
        if self.kind == "linear":
            base = base / self.factor
        elif self.kind == "yarn":
            base = self._yarn(base, theta)
        elif self.kind == "llama3":
            base = self._llama3(base)
        return base.astype(np.float32)

    def _yarn(self, base: np.ndarray, theta: float) -> np.ndarray:
        """Fast pairs as they are, slow ones stretched, a ramp between (Peng et al. 2023)."""
        head_dim = 2 * len(base)

        def pair_turning(turns: float) -> float:
            """The pair, a fraction, that turns so often over the original context."""
            wavelength = self.original_max_position_embeddings / turns
            return head_dim * math.log(wavelength / (2 * math.pi)) / (2 * math.log(theta))

        low, high = pair_turning(self.beta_fast), pair_turning(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_dim - 1)
        stretched = np.clip((np.arange(len(base)) - low) / ((high - low) or 0.001), 0, 1)
        return base / self.factor * stretched + base * (1 - stretched)

    def _llama3(self, base: np.ndarray) -> np.ndarray:
        """Long wavelengths stretched, short ones as they are, a ramp between (Llama 3.1)."""
        turns = self.original_max_position_embeddings * base / (2 * math.pi)
        kept = np.clip((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor), 0, 1)
        return base / self.factor * (1 - kept) + base * kept


UNSCALED = RopeScaling()


def rotary(
    positions: Int[Array, "B T"], theta: float, scaling: RopeScaling, head_dim: int
) -> tuple[Float[Array, "B T 1 H"], Float[Array, "B T 1 H"]]:
    """Cosines and sines of the rotary angles, in float32 (Su et al. 2021; halves layout, as in transformers)."""
    angles = positions[..., None].astype(jnp.float32) * scaling.frequencies(theta, head_dim)
    angles = jnp.concatenate([angles, angles], axis=-1)[:, :, None, :]
    return scaling.attention_scale * jnp.cos(angles), scaling.attention_scale * jnp.sin(angles)


def rotate(x: Float[Array, "B T N H"], cos: Array, sin: Array) -> Float[Array, "B T N H"]:
    """Turn each pair (i, i + H/2) of x by its angle."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    return (x.astype(jnp.float32) * cos + turned * sin).astype(x.dtype)
