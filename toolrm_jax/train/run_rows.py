"""The rows of all of a run's steps, and whether the model can read them: known before anything is compiled."""

from __future__ import annotations

from collections.abc import Sequence

from toolrm_jax.data.dataset import RowSource
from toolrm_jax.data.store import measure
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.train.config import TrainConfig


def row_source(config: TrainConfig, groups: Sequence[TokenGroup]) -> RowSource:
    """The rows of all of a run's steps. Raises DataError where they do not suffice, or no group fits a row."""
    data = config.data
    asked = data.row_length, data.slots, data.rows, data.epochs, config.seed, data.curriculum
    source = RowSource(groups, *asked)
    steps = len(source) // data.rows
    if config.steps is not None and config.steps > steps:
        raise DataError(f"steps={config.steps}, but {data.epochs} epoch(s) give only {steps}; raise data.epochs")
    return source


def check_tokens(groups: Sequence[TokenGroup], vocabulary: int) -> None:
    """Raises DataError where a group has a token that the model has none for: it was made with another tokenizer."""
    for index, highest in enumerate(measure(groups)["highest"]):
        if highest >= vocabulary:
            raise DataError(
                f"group {groups[index].id}: has token {highest}, the model knows {vocabulary}; these tokens are of "
                f"another tokenizer than the model's"
            )
