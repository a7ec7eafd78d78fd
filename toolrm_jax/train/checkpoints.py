"""Checkpoints by Orbax: parameters, optimiser, step, data position, config and code version; whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import nnx

import toolrm_jax
from toolrm_jax.errors import ModelError
from toolrm_jax.train.layout import TrainState


class Checkpoints:
    """The checkpoints of one run, in `folder`, saved in the background and named by their step."""

    def __init__(self, folder: Path, keep: int) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self.folder = folder
        self.manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, state: TrainState, frozen: nnx.State, data: dict[str, Any], config: dict[str, Any]) -> None:
        """Start saving; returns once the values are copied, before they are on disk."""
        about = {"config": config, "version": toolrm_jax.__version__}
        items = ocp.args.Composite(
            arrays=ocp.args.StandardSave(_arrays(state, frozen)),
            data=ocp.args.JsonSave(data),
            about=ocp.args.JsonSave(about),
        )
        self.manager.save(int(state.step), args=items)

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint, None where there is none."""
        return self.manager.latest_step()

    def restore(self, step: int, state: TrainState, frozen: nnx.State) -> tuple[TrainState, nnx.State, dict[str, Any]]:
        """The checkpoint of `step`, with shapes and shardings of the given state; and the data position.

        Raises ModelError where the shapes are not those of the given state.
        """
        want = jax.tree.map(ocp.utils.to_shape_dtype_struct, _arrays(state, frozen))
        try:
            found = self.manager.restore(
                step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(want), data=ocp.args.JsonRestore())
            )
        except (ValueError, KeyError, TypeError) as error:
            line = str(error).splitlines()[0][:200]
            raise ModelError(
                f"{self.folder}/{step}: not a checkpoint of this model ({line}); give another output folder"
            ) from None
        arrays = found.arrays
        nnx.replace_by_pure_dict(state.params, arrays["params"])
        nnx.replace_by_pure_dict(frozen, arrays["frozen"])
        optimizer = jax.tree.unflatten(jax.tree.structure(state.optimizer), jax.tree.leaves(arrays["optimizer"]))
        return TrainState(state.params, optimizer, arrays["step"]), frozen, found.data

    def close(self) -> None:
        """Wait for saves under way."""
        self.manager.close()


def _arrays(state: TrainState, frozen: nnx.State) -> dict[str, Any]:
    # The optimiser's state is a tree of optax's own types: its leaves are saved by number.
    return {
        "params": nnx.to_pure_dict(state.params),
        "frozen": nnx.to_pure_dict(frozen),
        "optimizer": {f"{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(state.optimizer))},
        "step": state.step,
    }
