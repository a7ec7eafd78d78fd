"""What a parser gives back, and the bounds all parsers share."""

from __future__ import annotations

import dataclasses
import math
import re

from toolrm_jax.toolcalls.types import Call

SIZE_LIMIT = 1 << 18
DEPTH_LIMIT = 64
DIGITS_LIMIT = 300

_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


@dataclasses.dataclass(frozen=True, slots=True)
class Parsed:
    """The calls of an answer and the text around them.

    With a `fault` (one short line: why this is not a set of calls) there are no calls, and `text` is the whole answer.
    """

    calls: tuple[Call, ...] = ()
    text: str = ""
    fault: str | None = None


class Fault(ValueError):
    """Why a text is not a set of calls; raised inside the parsers and never out of them."""


def faulty(text: str, fault: Fault | str) -> Parsed:
    """A text that is not a set of calls. Lone surrogates become U+FFFD, so that the text can be encoded."""
    return Parsed((), _SURROGATE.sub(_REPLACEMENT, text).strip(), " ".join(str(fault).split()))


def check_text(text: str) -> None:
    """Raise Fault for a text that is too long or cannot be encoded."""
    if len(text) > SIZE_LIMIT:
        raise Fault(f"too long: {len(text)} characters, the limit is {SIZE_LIMIT}")
    check_encodable(text)


def check_encodable(text: str) -> None:
    """Raise Fault for a text with a lone surrogate."""
    if _SURROGATE.search(text):
        raise Fault("a lone surrogate, which UTF-8 cannot hold")


def without_thinking(text: str) -> str:
    """The text after a leading `<think>…</think>` block; the text itself where there is none or it is not closed.

    Some templates write `<think>` themselves: then the text begins within the block. A `</think>` that nothing has
    opened ends it where it stands beside a line break, as no JSON string can hold it.
    """
    body = text.lstrip()
    if body.startswith("<think>"):
        _, closed, rest = body.partition("</think>")
        return rest if closed else text
    before, closed, rest = text.partition("</think>")
    if not closed or "<think>" in before:
        return text
    beside = before.rstrip(" \t").endswith("\n") or not before.strip() or rest.lstrip(" \t")[:1] in ("\n", "")
    return rest if beside else text


def read_int(digits: str) -> int:
    """A decimal integer; Fault beyond DIGITS_LIMIT (Python itself would raise on more than 4,300 digits)."""
    if len(digits) > DIGITS_LIMIT:
        raise Fault(f"an integer of {len(digits)} digits")
    return int(digits)


def read_float(number: str) -> float:
    """A finite float; Fault for one beyond the range, which JSON could not carry."""
    value = float(number)
    if not math.isfinite(value):
        raise Fault(f"the number {number[:20]} is beyond a float's range")
    return value
