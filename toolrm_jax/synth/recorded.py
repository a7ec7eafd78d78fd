"""Answers that are there already, in place of a model: the fourth sampler."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.synth.protocol import STOPPED, Answer, Asked, Outcome, Sampling

NOT_RECORDED = "not recorded"
LARGEST = 2**53
"""What tokens and seconds must be below: then sums of them are exact, and a journal can hold them."""


class RecordedSampler:
    """Gives sample number k of a task its k-th recorded answer; a task that has fewer fails with NOT_RECORDED."""

    def __init__(self, answers: Mapping[str, Sequence[Answer]]) -> None:
        self.answers = answers

    def run(
        self,
        asked: Iterable[Asked],
        options: Sampling,
        record: Callable[[Outcome], None],
        stopped: Callable[[], bool],
    ) -> None:
        """See `protocol.Sampler`. The options change nothing."""
        for one in asked:
            if stopped():
                return
            known = self.answers.get(one.task, ())
            for request in one.requests:
                if request.sample < len(known):
                    record(Outcome(one.task, request, known[request.sample]))
                else:
                    record(Outcome(one.task, request, None, NOT_RECORDED))


def read_jsonl(path: Path | str) -> dict[str, list[Answer]]:
    """Answers by task id, in the order of the lines: `{"id": …, "text": …}`, or `"message"` in place of the text.

    Also allowed: `tokens` and `seconds`. Raises DataError, with the line, for anything else.
    """
    found: dict[str, list[Answer]] = {}
    for number, row in _lines(Path(path)):
        try:
            answer = _answer(row)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}:{number}: no recorded answer ({error}); give id and text, or id and message"
            ) from None
        found.setdefault(row["id"], []).append(answer)
    return found


def _answer(row: Any) -> Answer:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise ValueError("no object with an id")
    if unknown := sorted(set(row) - {"id", "text", "message", "tokens", "seconds"}):
        raise ValueError(f"unknown field {unknown[0]!r}")
    message, text = row.get("message"), row.get("text")
    if (message is None) == (text is None):
        raise ValueError("give either a text or a message")
    if message is not None and not isinstance(message, dict):
        raise TypeError("the message is no object")
    content = message.get("content") or "" if message is not None else text
    if not isinstance(content, str):
        raise TypeError("the text is no text")
    tokens, seconds = (_figure(row, name) for name in ("tokens", "seconds"))
    return Answer(content, STOPPED, 0, int(tokens), float(seconds), message=message)


def _figure(row: Mapping[str, Any], name: str) -> float:
    """Raises ValueError for what cannot be counted with."""
    found = row.get(name, 0)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < LARGEST:
        raise ValueError(f"{name} is {found!r:.40}")
    return found


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except (ValueError, RecursionError) as error:
                        raise DataError(f"{path}:{number}: not JSON ({error}); mend or drop the line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give a file of recorded answers") from error
