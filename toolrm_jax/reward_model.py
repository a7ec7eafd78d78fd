"""The reward model as a Python object: load a folder once, score and choose answers with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from toolrm_jax.commands.trained import Opened

Json = Mapping[str, Any]
ComputeDtype = Literal["float32", "bfloat16"]


class RewardModel:
    """Scores answers of a tool-calling model; higher is better, and scores of one context compare with each other.

    Tools and messages are in OpenAI's form. A candidate is an assistant's message (`{"tool_calls": […]}` and/or
    `{"content": "…"}`), or a text as a model wrote it, whose `<tool_call>` blocks are read as calls.

    Examples:
        >>> model = RewardModel.load("runs/quickstart/model")
        >>> scores = model.score(tools, messages, candidates)
    """

    def __init__(self, opened: Opened, compute_dtype: ComputeDtype = "float32") -> None:
        self._opened = opened
        self._compute_dtype = compute_dtype

    @classmethod
    def load(cls, folder: str | Path, compute_dtype: ComputeDtype = "float32") -> Self:
        """The model of an exported folder or of a run. Raises ModelError where there is none.

        compute_dtype: bfloat16 is faster on accelerators and less exact.
        """
        from toolrm_jax.commands.trained import open_reward_model

        return cls(open_reward_model(folder), compute_dtype)

    def score(self, tools: Sequence[Json], messages: Sequence[Json], candidates: Sequence[Json | str]) -> list[float]:
        """The score of each candidate, in their order. Raises DataError that says what cannot be read."""
        return self.score_all([(tools, messages, candidates)])[0]

    def score_all(
        self, questions: Sequence[tuple[Sequence[Json], Sequence[Json], Sequence[Json | str]]]
    ) -> list[list[float]]:
        """The scores of many (tools, messages, candidates) at once: several contexts share a row of the model."""
        from toolrm_jax.commands.score import score_lines

        lines = [_line(number, *question) for number, question in enumerate(questions, 1)]
        return score_lines(self._opened, lines, self._compute_dtype)

    def best(self, tools: Sequence[Json], messages: Sequence[Json], candidates: Sequence[Json | str]) -> int:
        """The place of the best candidate; of equal ones the first. Raises DataError where there is none."""
        scores = self.score(tools, messages, candidates)
        if not scores:
            from toolrm_jax.errors import DataError

            raise DataError("best: there are no candidates; give at least one")
        return max(range(len(scores)), key=scores.__getitem__)


def _line(number: int, tools: Sequence[Json], messages: Sequence[Json], candidates: Sequence[Json | str]) -> Any:
    from toolrm_jax.commands.score_lines import read_line
    from toolrm_jax.errors import DataError

    where = f"question {number}"
    given = [_message(each) if isinstance(each, str) else each for each in candidates]
    row = {"tools": list(tools), "messages": list(messages), "candidates": given}
    try:
        return read_line(json.dumps(row, ensure_ascii=False), where)
    except TypeError as error:
        raise DataError(
            f"{where}: holds what JSON cannot ({error}); give plain dicts, lists, texts and numbers"
        ) from None


def _message(text: str) -> dict[str, Any]:
    """What a model wrote as a message: calls where they can be read, else the text as it is."""
    from toolrm_jax.toolcalls.parse import parse_hermes

    parsed = parse_hermes(text)
    calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in parsed.calls]
    return {"content": parsed.text, "tool_calls": calls} if calls else {"content": parsed.text}
