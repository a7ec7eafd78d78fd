"""After sampling: a model's text becomes a candidate, candidates of a task become a group with verdicts."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.synth.protocol import LENGTH, Answer, Outcome
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.equality import candidate_key
from toolrm_jax.toolcalls.formats import FORMATS, looks_like_calls, notations_of
from toolrm_jax.toolcalls.parse_openai import parse_openai
from toolrm_jax.toolcalls.parsed import Parsed
from toolrm_jax.toolcalls.schema import violations
from toolrm_jax.toolcalls.types import Call, Candidate, Context, Group, Task, Tool, Verdict

OPENAI = "openai"
NO_REFERENCE = "no reference"
NO_ANSWER = "no answer"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")

Read = Callable[[Task, Answer], Candidate]
"""How an answer to a task is read; the candidate's maker is filled in by whoever asked."""


def reader(notation: str) -> Read:
    """How answers are read: calls that a server has parsed as they are, any other text in that notation.

    notation: one of `FORMATS`, or `openai`: calls are where a server has parsed them, and nowhere else. Raises
    ConfigError for an unknown one.
    """
    if notation != OPENAI and notation not in FORMATS:
        raise ConfigError(f"format={notation}: is none of {OPENAI}, {', '.join(FORMATS)}")
    parse = FORMATS.get(notation, lambda text: parse_openai({"content": text}))

    def read(task: Task, answer: Answer) -> Candidate:
        parsed_there = answer.message is not None and answer.message.get("tool_calls")
        return _candidate(task, answer, parse_openai(answer.message) if parsed_there else parse(answer.text))

    return read


def offered_names(tools: Sequence[Tool]) -> dict[str, str]:
    """The offered tool that each name stands for where dots and the like had to become underscores.

    Names on offer stand for themselves, those that two tools would share for none.
    """
    plain = [_NOT_IN_NAMES.sub("_", tool.name) for tool in tools]
    names = {tool.name for tool in tools}
    return {name: tool.name for name, tool in zip(plain, tools) if name not in names and plain.count(name) == 1}


def _candidate(task: Task, answer: Answer, parsed: Parsed) -> Candidate:
    raw = _as_written(answer.message) if answer.message else answer.text
    if answer.finish == LENGTH:
        # What it would have gone on to say nobody knows: neither its calls nor their number may be judged.
        return Candidate((), parsed.text, "", raw, f"cut off after {answer.tokens} tokens", cut=True)
    names = offered_names(task.context.tools)
    calls = tuple(Call(names.get(call.name, call.name), call.arguments) for call in parsed.calls)
    return Candidate(calls, parsed.text, "", raw, parsed.fault)


def _as_written(message: Mapping[str, Any]) -> str:
    """A server's message as a model of the Hermes notation would have written it, arguments letter for letter."""
    pieces = [message.get("content") or ""]
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        name, arguments = (
            (function.get("name"), function.get("arguments")) if isinstance(function, Mapping) else ("", "")
        )
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        pieces.append(f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {written}}}\n</tool_call>')
    return "\n".join(piece for piece in pieces if isinstance(piece, str) and piece)


@dataclasses.dataclass(slots=True)
class ModelTally:
    """What became of one model's requests.

    valid: answers whose calls are all of offered tools and as their schemas ask. unparsable: those that are no calls
    and no text, the ones that were cut off among them. empty: neither calls nor text. unread: read as words though they
    bear the marks of calls. notations: in which other notation how many of these are calls. merged: like an earlier
    answer to the same task. compared, identical: tasks with several answers, and those of them whose answers are the
    same text. seconds: summed over answers, each from sending to the last token.
    """

    answers: int = 0
    failed: int = 0
    valid: int = 0
    right: int = 0
    unparsable: int = 0
    cut: int = 0
    empty: int = 0
    merged: int = 0
    compared: int = 0
    identical: int = 0
    unread: int = 0
    tokens: int = 0
    seconds: float = 0.0
    wrong: Counter[str] = dataclasses.field(default_factory=Counter)
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    notations: Counter[str] = dataclasses.field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; what is counted by name by falling count."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = lambda value: dict(value.most_common()) if isinstance(value, Counter) else value  # noqa: E731
        return {name: plain(value) for name, value in found.items()}

    def add(self, context: Context, outcomes: Sequence[Outcome], members: Sequence[tuple[Candidate, Verdict]]) -> None:
        """Count a task's outcomes and, for those that are answers, the candidates they became, in the same order."""
        texts = []
        for outcome in outcomes:
            if outcome.answer is None:
                self.failed += 1
                self.reasons[outcome.failure] += 1
                continue
            self.answers += 1
            self.tokens += outcome.answer.tokens
            self.seconds += outcome.answer.seconds
            self.cut += outcome.answer.finish == LENGTH
            texts.append(outcome.answer.words())
        if len(texts) > 1:
            self.compared += 1
            self.identical += len(set(texts)) == 1
        for candidate, verdict in members:
            self.unparsable += candidate.fault is not None
            self.empty += candidate.fault is None and not candidate.calls and not candidate.text
            if candidate.fault is None and not candidate.calls and looks_like_calls(candidate.text):
                self.unread += 1
                self.notations.update(notations_of(candidate.text))
            self.valid += candidate.fault is None and _valid(context, candidate)
            self.right += verdict.right
            if not verdict.right:
                self.wrong[str(verdict.error_type)] += 1


def grade(
    task: Task,
    outcomes: Mapping[str, Sequence[Outcome]],
    readers: Mapping[str, Read],
    tallies: Mapping[str, ModelTally],
) -> Group | str:
    """The group of a task with every distinct answer of every model, or why there is none.

    outcomes: by model. The first of equal answers stays, in the order of models and samples, with their count by model.
    """
    if task.reference is None:
        return NO_REFERENCE
    kept: dict[Hashable, tuple[Candidate, Verdict]] = {}
    makers: dict[Hashable, Counter[str]] = {}
    for model, some in outcomes.items():
        members = [
            _judged(task, dataclasses.replace(readers[model](task, one.answer), maker=f"model:{model}"))
            for one in some
            if one.answer is not None
        ]
        tallies[model].add(task.context, some, members)
        for member in members:
            key = candidate_key(member[0])
            tallies[model].merged += key in kept
            kept.setdefault(key, member)
            makers.setdefault(key, Counter())[member[0].maker] += 1
    if not kept:
        return NO_ANSWER
    counted = tuple(_counted(candidate, makers[key]) for key, (candidate, _) in kept.items())
    return Group(task, counted, tuple(verdict for _, verdict in kept.values()))


def _counted(candidate: Candidate, makers: Counter[str]) -> Candidate:
    others = {maker: count for maker, count in makers.items() if maker != candidate.maker}
    return dataclasses.replace(candidate, count=makers.total(), others=others or None)


def _judged(task: Task, candidate: Candidate) -> tuple[Candidate, Verdict]:
    try:
        candidate_key(candidate)
    except DataError as error:
        candidate = dataclasses.replace(candidate, calls=(), fault=str(error))
    return candidate, judge(task, candidate)


def _valid(context: Context, candidate: Candidate) -> bool:
    try:
        return not any(violations(context.tools, call) for call in candidate.calls)
    except DataError:
        return False


def warnings(model: str, tally: ModelTally, temperature: float) -> list[str]:
    """What to say of answers that look as if a setting were wrong; a line each.

    Samples that are all the same although they were drawn: a sure model often writes one short call each time, but
    all contexts alike, or most of them, is a server that gives every sample the same seed, or none. Words that bear the
    marks of calls: a slip of the model where there are few, else it writes another notation than `format` says.
    """
    found = []
    if temperature > 0 and tally.identical:
        told = f"{model}: all samples are the same text in {tally.identical:,} of {tally.compared:,} contexts"
        told += f" at temperature {temperature:g}"
        many = tally.identical / tally.compared >= 0.5
        found.append(
            f"WARNING: {told}: does its server draw each sample with a seed of its own?" if many else f"note: {told}"
        )
    if tally.unread:
        told = f"{model}: {tally.unread:,} of {tally.answers:,} answers were read as words, yet bear the marks of calls"
        many = tally.unread / tally.answers >= 0.02
        found.append(f"WARNING: {told}; {_another_notation(tally)}" if many else f"note: {told}")
    return found


def _another_notation(tally: ModelTally) -> str:
    advice = "its entry's format=, and overwrite=true: nothing is asked again"
    if not tally.notations:
        return f"name their notation as {advice}"
    name, count = tally.notations.most_common(1)[0]
    return f"{count:,} are calls in the notation {name}: give it as {advice}"
