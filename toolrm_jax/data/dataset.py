"""The Grain dataset over tokenised groups: packed rows by number, so its position is one integer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import grain
import numpy as np

from toolrm_jax.data.packing import plan
from toolrm_jax.data.rows import Rows, lay_out, stack
from toolrm_jax.data.store import measure
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.seeding import seeded

# Groups packed together. Larger windows waste less padding, since each leaves some rows half empty; of 2048 under one
# per cent is left of rows of 16,384 tokens (benchmarks/input_pipeline.py).
WINDOW = 2048
TOO_LARGE = "of more tokens or answers than a row has"
NOT_TRAINED = "prepared for an epoch that is not trained"


class RowSource:
    """Random access to the rows of all epochs. Row i depends on the groups and the settings alone.

    An epoch has the groups that were prepared for it; where training is longer, the prepared epochs come again in
    turn. With a curriculum the first epoch comes in that many stages of as many groups each, from the shortest groups
    to the longest, each stage in an order of its own. The last step of the last epoch is filled up with empty rows, so
    nothing is left out.
    """

    def __init__(
        self,
        groups: Sequence[TokenGroup],
        length: int,
        slots: int,
        rows: int,
        epochs: int,
        seed: int,
        curriculum: int = 1,
    ) -> None:
        measured = measure(groups)
        sizes, answers, of_epoch = measured["size"], measured["count"], measured["epoch"]
        prepared = int(of_epoch.max(initial=0)) + 1
        fits, read = (sizes <= length) & (answers <= slots), of_epoch < epochs
        dropped = {TOO_LARGE: read & ~fits, NOT_TRAINED: ~read}
        self.dropped = {why: int(which.sum()) for why, which in dropped.items() if which.any()}
        if not fits.any():
            raise DataError(
                f"none of {len(groups)} groups fits a row of {length} tokens and {slots} answers "
                f"(the longest has {sizes.max()}); raise data.row_length"
                if len(groups)
                else "the data set has no groups; run `toolrm prepare` first"
            )
        self.groups, self.length, self.slots = groups, length, slots
        self.sizes, self.right_tokens = sizes, measured["right_tokens"]
        self.plan: list[tuple[int, ...]] = []
        for epoch in range(epochs):
            own = np.flatnonzero(fits & (of_epoch == epoch % prepared))
            if not len(own):
                raise DataError(
                    f"no group that was prepared for epoch {epoch % prepared} fits a row of {length} tokens and "
                    f"{slots} answers; raise data.row_length, or prepare fewer epochs"
                )
            stages = np.array_split(own[np.argsort(sizes[own], kind="stable")], 1 if epoch else curriculum)
            for stage, some in enumerate(stages if len(stages) > 1 else [own]):
                number = seeded(seed, "packing", str(stage or ""), epoch).getrandbits(63)
                rows_of_stage = plan(sizes[some], answers[some], length, slots, WINDOW, number)
                self.plan += [tuple(int(some[i]) for i in row) for row in rows_of_stage]
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
