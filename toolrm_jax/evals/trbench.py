"""TRBench-BFCL (arXiv 2510.26167) as published, `RioLee/TRBench-BFCL`: nine splits, Avg and W-Avg (method.md 3.7).

A parquet file holds every pair twice: the first half in the original order (ground truth "1"), the second half the
same pairs in the same sequence, swapped ("2"). A scalar judge needs the first half only; a judge that compares is
asked in both orders by us, with its own prompt. Pairs of one context share a group, so that it is read once.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.evals import published
from toolrm_jax.evals.benchmark import SINGLE, Benchmark, Credit, Measure, Metric, mean_with_interval, share
from toolrm_jax.evals.rebuilt import GROUND_TRUTH, rebuilt
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.bfcl_checker import error_type
from toolrm_jax.sources.chat_text import split_answer, split_results
from toolrm_jax.sources.rows import ARROW, arrow_rows
from toolrm_jax.toolcalls.equality import canonical
from toolrm_jax.toolcalls.types import Call, Candidate, Context, Group, Message, Reference, Task, Tool, Verdict

LICENCE = "CC-BY-NC-SA-4.0"
THINK = "trbench_test_think"
COLUMNS = ("raw_id", "task_source", "error_type", "chat_history", "chosen_response", "reject_response", "reward_model")
SPLITS = {
    "simple": "S",
    "multiple": "M",
    "parallel": "P",
    "parallel_multiple": "PM",
    "live_simple": "LS",
    "live_multiple": "LM",
    "live_parallel": "LP",
    "live_parallel_multiple": "LPM",
    "multi_turn_base": "MTB",
}
"""The table's short name of every BFCL category."""
CATEGORIES = {"simple_python": "simple"} | {name: name for name in SPLITS if name != "simple"}
"""The categories by their names in BFCL v4, where `simple` is one of three languages."""
SIZES = {"S": 137, "M": 71, "P": 301, "PM": 390, "LS": 212, "LM": 1283, "LP": 34, "LPM": 60, "MTB": 495}
"""Pairs of each split: the smallest sizes under which all 37 published rates are whole counts."""
STRICT = "without rejects that differ only by . and _"

_TOOLS = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)

Pair = tuple[str, int]
"""A group's task id and the place of the wrong candidate in it."""


def read(path: Path | str) -> Benchmark:
    """The benchmark from a parquet file, or a folder that holds the published ones (then the `think` one).

    One of our own making says so, and no published rows stand beside it. Raises DataError, with file and row, where a
    file is not of the published form or its halves do not belong together.
    """
    file = _file(Path(path))
    rows = list(arrow_rows(file, COLUMNS))
    if not rows or len(rows) % 2:
        raise DataError(f"{file}: {len(rows)} rows; every pair stands there twice, in both orders")
    half = len(rows) // 2
    for (where, one), (other, two) in zip(rows[:half], rows[half:]):
        if _truth(one) != "1" or _truth(two) != "2" or one["raw_id"] != two["raw_id"]:
            raise DataError(f"{where}: its pair in the other order is not at {other}; fetch the file again")
    groups, dotted = _groups(rows[:half])
    facts = (("pairs", f"{half:,}"), ("contexts", f"{len(groups):,}"), ("differ only by . and _", str(len(dotted))))
    if made := rebuilt(file):
        return Benchmark(made.name, groups, made.note, metric(dotted), facts=(*facts[1:], *made.facts))
    note = (
        "TRBench-BFCL as published: answers of BFCL v3 over failing outputs of seven models. W-Avg is the mean over "
        "all pairs, Avg that of the nine splits."
    )
    return Benchmark("TRBench-BFCL", groups, note, metric(dotted), published.trbench(), facts=facts)


def metric(dotted: frozenset[Pair] = frozenset()) -> Metric:
    """Splits and both averages; again without the pairs `dotted`."""
    return Metric.on_pairs(SINGLE, lambda found: _measures(found, dotted))


def averages(rates: Mapping[str, float], sizes: Mapping[str, int]) -> tuple[float, float]:
    """(Avg, W-Avg) of the splits' rates: their plain mean, and the mean over all pairs."""
    weighted = sum(rates[name] * sizes[name] for name in rates) / sum(sizes[name] for name in rates)
    return sum(rates.values()) / len(rates), weighted


def _measures(found: Sequence[Credit], dotted: frozenset[Pair]) -> tuple[Measure, ...]:
    measures = list(_table(found, ""))
    if dotted:
        measures += _table([one for one in found if (one.task, one.wrong) not in dotted], STRICT)
    return tuple(measures)


def _table(found: Sequence[Credit], part: str) -> Iterable[Measure]:
    parts: dict[str, list[Credit]] = {name: [] for name in SIZES}
    for one in found:
        parts[SPLITS.get(one.category, one.category)].append(one)
    parts = {name: some for name, some in parts.items() if some}
    sizes = {name: len(some) for name, some in parts.items()}
    yield mean_with_interval(parts, "Avg", lambda rates: averages(rates, sizes)[0], part)
    yield share(found, "W-Avg", part)
    yield from (share(some, name, part) for name, some in parts.items())


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    rebuilt(path)  # several sides are refused there; the first file found would be one of them
    files = sorted(file for suffix in ARROW for file in path.rglob(f"*{suffix}"))
    think = [file for file in files if THINK in str(file.relative_to(path)) and "no_think" not in file.name]
    if not think:
        raise DataError(f"{path}: no {THINK}*.parquet there; give the file, or the folder of RioLee/TRBench-BFCL")
    return think[0]


def _truth(row: Mapping[str, Any]) -> Any:
    model = row["reward_model"]
    return (json.loads(model) if isinstance(model, str) else model).get("ground_truth")


def _groups(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[tuple[Group, ...], frozenset[Pair]]:
    """One group per context and right answer, and the pairs whose answers differ only by dots in names."""
    groups: dict[Hashable, Group] = {}
    names: dict[str, int] = {}
    dotted = set()
    for where, row in rows:
        key = row["raw_id"], json.dumps(row["chat_history"], sort_keys=True), json.dumps(row["chosen_response"])
        try:
            if key not in groups:
                names[row["raw_id"]] = names.get(row["raw_id"], 0) + 1
                again = names[row["raw_id"]]
                groups[key] = _started(row, row["raw_id"] if again == 1 else f"{row['raw_id']}#{again}")
            group = groups[key]
            wrong = _candidate(row["reject_response"], f"model:{row.get('reject_response_from') or ''}")
        except (DataError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"{where}: malformed row ({type(error).__name__}: {error})") from None
        if _undotted(wrong) == _undotted(group.candidates[0]):
            dotted.add((group.task.id, len(group.candidates)))
        label = str(row["error_type"])
        verdict = Verdict(False, 0.0, error_type(label), label)
        groups[key] = dataclasses.replace(
            group, candidates=(*group.candidates, wrong), verdicts=(*group.verdicts, verdict)
        )
    return tuple(groups.values()), frozenset(dotted)


def _started(row: Mapping[str, Any], id: str) -> Group:
    """The group with its right answer alone."""
    if row["task_source"] not in SPLITS:
        raise DataError(f"task_source {row['task_source']!r} is none of {', '.join(SPLITS)}")
    history = row["chat_history"]
    history = json.loads(history) if isinstance(history, str) else history
    source = row.get("chosen_response_from") or GROUND_TRUTH
    right = _candidate(row["chosen_response"], "reference" if source == GROUND_TRUTH else f"model:{source}")
    task = Task(id, "trbench-bfcl", row["task_source"], LICENCE, _context(history), Reference(right.calls, right.text))
    return Group(task, (right,), (Verdict(True, 1.0),))


def _context(history: Sequence[Mapping[str, Any]]) -> Context:
    """Every message is kept, whatever order the roles come in: nothing is drawn from a benchmark's dialogue."""
    tools: tuple[Tool, ...] = ()
    messages = []
    for place, turn in enumerate(history):
        text = turn.get("content") or ""
        if place == 0 and turn["role"] == "system":
            policy, tools = _system(text)
            messages += [Message("system", policy)] if policy else []
        elif turn["role"] == "user" and text.lstrip().startswith("<tool_response>"):
            messages += [Message("tool", result) for result in split_results(text)]
        elif turn["role"] == "assistant":
            words, calls, fault = split_answer(text)
            messages.append(Message("assistant", text) if fault else Message("assistant", words, calls))
        else:
            messages.append(Message(turn["role"], text))
    return Context(tools, tuple(messages))


def _system(text: str) -> tuple[str, tuple[Tool, ...]]:
    """The policy above the tools, and the tools: one JSON object per line, with BFCL's own type names."""
    found = _TOOLS.search(text)
    if found is None:
        return text.strip(), ()
    docs = [json.loads(line) for line in found[1].strip().splitlines() if line.strip()]
    docs = docs[0] if len(docs) == 1 and isinstance(docs[0], list) else docs
    return text[: found.start()].partition("# Tools")[0].strip(), tuple(_tool(doc) for doc in docs)


def _tool(doc: Mapping[str, Any]) -> Tool:
    """A function's doc; types that even BFCL does not define stay as they are written."""
    doc = {"description": "", "parameters": {"type": "object"}, **doc.get("function", doc)}
    try:
        return bfcl.tool(doc)
    except DataError:
        return Tool(doc["name"], doc["description"], doc["parameters"])


def _candidate(response: Any, maker: str) -> Candidate:
    """An answer as text with `<tool_call>` blocks, or as a message that holds such a text; it may be empty."""
    text = (response.get("content") or "") if isinstance(response, Mapping) else (response or "")
    words, calls, fault = split_answer(text)
    if fault is not None:
        return Candidate(maker=maker, raw=text, fault=fault)
    return Candidate(calls, words, maker, text)


def _undotted(candidate: Candidate) -> Hashable:
    if candidate.fault is not None or not candidate.calls:
        return candidate.raw
    return canonical([Call(call.name.replace(".", "_"), call.arguments) for call in candidate.calls], fold_case=False)
