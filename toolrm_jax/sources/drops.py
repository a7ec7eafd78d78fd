"""What a reader leaves out, and why: every item lost is counted under a named reason."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from toolrm_jax.errors import DataError

NOT_READABLE = "not readable"
"""The item is no JSON, or not of the published form."""
REPEATED_ID = "repeated id"
UNKNOWN_TOOL = "call of an unknown tool"
BAD_CALL = "malformed call"
BAD_ARGUMENTS = "arguments do not fit the tool's schema"
REPEATED_CALL = "repeated call"
SAME_ANSWERS = "right and wrong answers are equal"
FAILED_RUN = "run that did not pass"
FAILED_RESULT = "tool result reports failure"
BAD_TOOL = "tool beyond repair"
SAME_NAME = "two tools of one name"
ROLE_ORDER = "roles out of order"
NO_TOOLS = "no tools"
NO_USER = "no user message"
NO_ANSWER = "answer not known"
UNKNOWN_TASK = "answer to an unknown question"


@dataclasses.dataclass(slots=True)
class Drops:
    """Counts of items left out by reason, with the first place of each. With `strict`, a drop is a DataError."""

    strict: bool = False
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    first: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, reason: str, where: str) -> None:
        """One item less. `where` says which item (file, line or id) and, after a colon, what exactly is wrong."""
        if self.strict:
            raise DataError(f"{where}: {reason}; mend the item, or say strict=false to leave it out")
        self.counts[reason] += 1
        self.first.setdefault(reason, where)

    def merge(self, other: Drops) -> None:
        """Add what another worker counted; first places stay those of the earlier worker."""
        self.counts.update(other.counts)
        for reason, where in other.first.items():
            self.first.setdefault(reason, where)

    @property
    def total(self) -> int:
        """Items left out for any reason."""
        return self.counts.total()


class Unfit(ValueError):
    """Why one item cannot be used; raised inside the readers, which count it, and never out of them."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = " ".join(detail.split())[:200]


MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError, DataError)
"""What code that takes a published item apart raises where the item is not of the published form."""

Item = TypeVar("Item")
Made = TypeVar("Made")


def each(
    items: Iterable[tuple[str, Item]], make: Callable[[str, Item], Iterable[Made]], drops: Drops
) -> Iterator[Made]:
    """What `make(where, item)` gives for every item; an item that it cannot use is counted, whole, in `drops`."""
    for where, item in items:
        try:
            made = list(make(where, item))
        except Unfit as fault:
            drops.add(fault.reason, f"{where}: {fault.detail}" if fault.detail else where)
        except MALFORMED as fault:
            if drops.strict and isinstance(fault, DataError):
                raise
            drops.add(NOT_READABLE, f"{where}: {type(fault).__name__}: {' '.join(str(fault).split())[:200]}")
        else:
            yield from made
