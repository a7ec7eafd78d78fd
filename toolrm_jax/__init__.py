"""Reward models for tool-calling language models, in JAX: from public data to a served model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolrm_jax.reward_model import RewardModel

__all__ = ["RewardModel", "__version__"]


def __getattr__(name: str) -> Any:
    """`RewardModel` and `__version__` are looked up when asked for: importing the package costs nothing."""
    if name == "RewardModel":
        from toolrm_jax.reward_model import RewardModel

        return RewardModel
    if name == "__version__":
        from importlib.metadata import version

        return version("toolrm_jax")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
