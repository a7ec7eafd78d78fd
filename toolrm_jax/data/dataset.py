"""The Grain dataset over tokenised groups: packed rows by number, so its position is one integer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import grain
import numpy as np

from toolrm_jax.data.packing import plan
from toolrm_jax.data.rows import Rows, lay_out, stack
from toolrm_jax.data.store import TokenGroups
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.seeding import seeded

# Groups packed together. Larger windows waste less padding, since each leaves some rows half empty; of 2048 under one
# per cent is left of rows of 16,384 tokens (benchmarks/input_pipeline.py).
WINDOW = 2048


class RowSource:
    """Random access to the rows of all epochs. Row i depends on the groups and the settings alone.

    The last step of the last epoch is filled up with empty rows, so nothing is left out.
    """

    def __init__(
        self, groups: Sequence[TokenGroup], length: int, slots: int, rows: int, epochs: int, seed: int
    ) -> None:
        sizes, answers, right_tokens = measure(groups)
        fits = np.flatnonzero((sizes <= length) & (answers <= slots))
        self.dropped = {"longer_than_row": len(groups) - len(fits)} if len(fits) < len(groups) else {}
        if not len(fits):
            raise DataError(
                f"none of {len(groups)} groups fits a row of {length} tokens and {slots} answers "
                f"(the longest has {sizes.max()}); raise data.row_length"
                if len(groups)
                else "the data set has no groups; run `toolrm prepare` first"
            )
        self.groups, self.length, self.slots = groups, length, slots
        self.sizes, self.right_tokens, kept = sizes, right_tokens, (sizes[fits], answers[fits])
        self.plan: list[tuple[int, ...]] = []
        for epoch in range(epochs):
            number = seeded(seed, "packing", epoch=epoch).getrandbits(63)
            self.plan += [tuple(int(fits[i]) for i in row) for row in plan(*kept, length, slots, WINDOW, number)]
        self.plan += [()] * (-len(self.plan) % rows)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Rows:
        return lay_out([self.groups[i] for i in self.plan[index]], self.length, self.slots)

    def empty(self, rows: int) -> Rows:
        """So many rows without a group."""
        return stack([lay_out([], self.length, self.slots)] * rows)

    def ids(self, rows: Iterable[int]) -> list[str]:
        """Ids of the groups in these rows."""
        return [self.groups[i].id for row in rows for i in self.plan[row]]

    @property
    def most_right_tokens(self) -> int:
        """Tokens of right answers in the row that has most of them."""
        return max(sum(int(self.right_tokens[i]) for i in row) for row in self.plan)

    @property
    def padding(self) -> float:
        """Share of all row tokens that are padding."""
        used = sum(int(self.sizes[i]) for row in self.plan for i in row)
        return 1 - used / (len(self.plan) * self.length)


def measure(groups: Sequence[TokenGroup]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, answers, and tokens of right answers of every group, int32 [groups]; those on disk have an index."""
    if isinstance(groups, TokenGroups):
        return groups.sizes, groups.answers, groups.right_tokens
    sizes = [(group.size, len(group.responses), group.right_tokens) for group in groups]
    return tuple(np.array(sizes, np.int32).reshape(-1, 3).T)


class Share:
    """Of every batch of `rows` rows of a source, those numbered `mine`, in order: what one process reads."""

    def __init__(self, source: RowSource, rows: int, mine: Sequence[int]) -> None:
        self.source, self.rows, self.mine = source, rows, tuple(mine)

    def __len__(self) -> int:
        return len(self.source) // self.rows * len(self.mine)

    def __getitem__(self, index: int) -> Rows:
        batch, at = divmod(index, len(self.mine))
        return self.source[batch * self.rows + self.mine[at]]


def batches(source: RowSource, rows: int, mine: Sequence[int] | None = None) -> grain.IterDataset:
    """Batches of `rows` rows over all processes, of which this one reads those numbered `mine` (None: all).

    Batch i is made of the same rows whatever the number of processes, and so is the position in the data.
    Prefetched by threads.
    """
    share = Share(source, rows, range(rows) if mine is None else mine)
    batched = grain.MapDataset.source(share).batch(len(share.mine), batch_fn=stack)
    return batched.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
