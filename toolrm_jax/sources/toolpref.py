"""`RioLee/ToolPref-Pairwise-30K` (Li et al., 2025) as released, in both layouts.

Discriminative: `chosen` and `rejected`, whole chats that end in the two answers, with their rule scores. Generative:
`chat_history` and the two responses apart, with the models they are of and `gt_actions`, the reference calls.
The right candidate is the one the release chose; its score may be below 1. The release holds the same pairs several
times: read the folder of one layout. Its two prompt forms of the generative one share their ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.sources.chat_text import split_answer, split_system
from toolrm_jax.sources.drops import NO_TOOLS, NOT_READABLE, SAME_ANSWERS, Drops, Unfit, each
from toolrm_jax.sources.literals import read_calls
from toolrm_jax.sources.rows import files, rows
from toolrm_jax.sources.sharegpt import add_messages
from toolrm_jax.sources.trajectories import Transcript
from toolrm_jax.toolcalls.types import Candidate, Context, Group, Reference, Task, Verdict

LICENCE = "CC-BY-NC-SA-4.0"


def read_candidates(path: Path | None, drops: Drops) -> Iterator[Group]:
    """A group of two for every row of every file at or below `path`."""
    for file in files(path, "toolpref"):
        numbered = ((where, (number, row)) for number, (where, row) in enumerate(rows(file, drops)))
        yield from each(numbered, lambda _, item, stem=file.stem: (_group(stem, *item),), drops)


def _group(stem: str, number: int, row: dict[str, Any]) -> Group:
    if "chat_history" in row:
        id, category = f"toolpref/{row['uuid']}", row.get("task_source") or "unknown"
        context = _context(row["chat_history"])
        reference = Reference(read_calls(row["gt_actions"]))
        answers = [(row[f"{side}_response"], row[f"{side}_response_from"]) for side in ("chosen", "reject")]
        scores = [row[f"{side}_response_reward"] for side in ("chosen", "reject")]
    elif "chosen" in row:
        id, category = f"toolpref/{stem}/{number}", "discriminative"
        *before, chosen = row["chosen"]
        *same, rejected = row["rejected"]
        if before != same:
            raise Unfit(NOT_READABLE, "the two chats differ before their answers")
        context, reference = _context(before), None
        answers = [(chosen, "unknown"), (rejected, "unknown")]
        scores = [row["chosen_score"], row["rejected_score"]]
    else:
        raise Unfit(NOT_READABLE, "neither `chat_history` nor `chosen`")
    if not scores[0] > scores[1]:
        raise Unfit(NOT_READABLE, f"the chosen score {scores[0]} is not above {scores[1]}")
    candidates = tuple(_candidate(*answer) for answer in answers)
    if candidates[0].calls == candidates[1].calls and candidates[0].text == candidates[1].text:
        raise Unfit(SAME_ANSWERS, id)
    verdicts = tuple(
        Verdict(right, float(score), None, f"{'chosen' if right else 'rejected'} by the release, rule score {score:g}")
        for right, score in zip((True, False), scores)
    )
    return Group(Task(id, "toolpref", category, LICENCE, context, reference), candidates, verdicts)


def _context(messages: Sequence[dict[str, Any]]) -> Context:
    said = Transcript()
    policy, tools = split_system(messages[0]["content"] if messages[0]["role"] == "system" else "")
    if not tools:
        raise Unfit(NO_TOOLS)
    said.system(policy)
    add_messages(said, messages[1:])
    return Context(tools, tuple(said.messages))


def _candidate(response: Any, model: str) -> Candidate:
    """An answer as a message, with its calls apart or in tags, or as text alone."""
    maker = "reference" if model in ("ground truth", "gt", "reference") else f"model:{model}"
    message = response if isinstance(response, dict) else {"content": response}
    text = message.get("content") or ""
    words, calls, fault = split_answer(text)
    if fault is not None:
        return Candidate(maker=maker, raw=text, fault=fault)
    if message.get("tool_calls"):
        calls = read_calls(message["tool_calls"])
    return Candidate(calls, words, maker, text)
