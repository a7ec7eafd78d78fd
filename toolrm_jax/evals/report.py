"""The report of a run: what is told (`RunReport`), written as one self-contained HTML file and as JSON beside it."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from toolrm_jax.data.chat import response_text
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals.metrics import Outcome
from toolrm_jax.evals.report_view import view
from toolrm_jax.evals.scores import Score
from toolrm_jax.files import write_file
from toolrm_jax.toolcalls.types import Context, ErrorType, Group, Record

TEXT_LIMIT = 1800
"""Characters shown of one text of an error; models can write very long ones."""


def _many(kind: type[Record], value: Any) -> tuple:
    if not isinstance(value, list):
        raise DataError(f"expected a list of {kind.__name__}, found {type(value).__name__}")
    return tuple(kind.from_json(item) for item in value)


@dataclasses.dataclass(frozen=True, slots=True)
class JudgeResult(Record):
    """One judge on one benchmark; `about` says in a phrase how it judges."""

    judge: str
    outcomes: tuple[Outcome, ...]
    about: str = ""

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return _many(Outcome, value) if name == "outcomes" else value


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation(Record):
    """Several judges on the same pairs. `real`: the wrong calls are of real models, not made by rules."""

    name: str
    real: bool
    results: tuple[JudgeResult, ...]
    note: str = ""

    def result(self, judge: str) -> JudgeResult:
        """The result of the judge of that name. Raises ConfigError where there is none."""
        for result in self.results:
            if result.judge == judge:
                return result
        raise ConfigError(f"{self.name}: no result of {judge!r}; it has {', '.join(r.judge for r in self.results)}")

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return _many(JudgeResult, value) if name == "results" else value


@dataclasses.dataclass(frozen=True, slots=True)
class Curve(Record):
    """A number over training steps; `name` is the label of its axis."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.values):
            raise DataError(f"Curve {self.name!r}: {len(self.steps)} steps but {len(self.values)} values")
        if not all(map(math.isfinite, self.values)):
            raise DataError(f"Curve {self.name!r}: not every value is finite; leave those steps out")

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return tuple(value) if name in ("steps", "values") else value


@dataclasses.dataclass(frozen=True, slots=True)
class Mistake(Record):
    """A pair that the trained model got wrong, as text."""

    evaluation: str
    task: str
    category: str
    error_type: ErrorType | None
    conversation: str
    tools: str
    right: str
    wrong: str
    right_score: float
    wrong_score: float

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return ErrorType(value) if name == "error_type" and value is not None else value


@dataclasses.dataclass(frozen=True, slots=True)
class Command(Record):
    """A command line and what it is for."""

    purpose: str
    line: str


@dataclasses.dataclass(frozen=True, slots=True)
class RunReport(Record):
    """All that the report says.

    `trained` is the name of the trained model among the judges. `what` completes the sentence "<backbone> was
    trained on …"; `backbone` and `what` are plain words. `evaluations` begins with the one that the headline is
    about. `facts` are rows of the data card's summary; `commands` made this run, `next_commands` are suggestions.
    """

    title: str
    backbone: str
    what: str
    trained: str
    evaluations: tuple[Evaluation, ...]
    loss: Curve | None = None
    held_out: Curve | None = None
    mistakes: tuple[Mistake, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    commands: tuple[Command, ...] = ()
    next_commands: tuple[Command, ...] = ()

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name in ("loss", "held_out"):
            return None if value is None else Curve.from_json(value)
        kinds = {"evaluations": Evaluation, "mistakes": Mistake, "commands": Command, "next_commands": Command}
        if name == "facts":
            return tuple(tuple(row) for row in value)
        return _many(kinds[name], value) if name in kinds else value


def write_report(path: Path | str, run: RunReport) -> Path:
    """Write the report to `path` (HTML) and its numbers to the file of that name with `.json`; returns `path`.

    The JSON holds the RunReport under `run` and the tables shown under `results`. Raises ConfigError where the
    trained model or two judges' pairs do not fit.
    """
    path = Path(path)
    shown = view(run)
    html = rendered("report.html.jinja", run=run, **shown.page)
    numbers = json.dumps({"run": run.to_json(), "results": shown.results}, separators=(",", ":"), allow_nan=False)
    write_file(path.with_suffix(".json"), numbers)
    write_file(path, html)
    return path


def rendered(template: str, **page: Any) -> str:
    """One of this package's pages."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**page)


def confident_mistakes(
    evaluation: str, groups: Sequence[Group], scores: Sequence[Sequence[Score]], count: int = 10
) -> tuple[Mistake, ...]:
    """The pairs judged wrong by the widest margin, at most one of a task, as text; `scores[g][k]` as for `outcomes`.

    Answers that were not read are not among them.
    """
    found = []
    for group, row in zip(groups, scores):
        judged = zip(group.candidates, group.verdicts, row)
        members = [(answer, verdict, float(score)) for answer, verdict, score in judged if score is not None]
        rights = [member for member in members if member[1].right]
        wrongs = [member for member in members if not member[1].right]
        if rights and wrongs:
            right, wrong = min(rights, key=lambda member: member[2]), max(wrongs, key=lambda member: member[2])
            if right[2] <= wrong[2]:
                found.append((right[2] - wrong[2], group, right, wrong))
    found.sort(key=lambda item: (item[0], item[1].task.id))
    return tuple(
        Mistake(
            evaluation=evaluation,
            task=group.task.id,
            category=group.task.category,
            error_type=wrong[1].error_type,
            conversation=_short(_conversation(group.task.context)),
            tools=_short(
                _tools(group.task.context, {call.name for member in (right, wrong) for call in member[0].calls})
            ),
            right=_short(response_text(right[0]) or "(no answer)"),
            wrong=_short(response_text(wrong[0]) or "(no answer)"),
            right_score=right[2],
            wrong_score=wrong[2],
        )
        for _, group, right, wrong in found[:count]
    )


def _conversation(context: Context) -> str:
    return "\n\n".join(
        f"{message.role}: {message.content}" for message in context.messages if message.content or not message.calls
    )


def _tools(context: Context, called: set[str]) -> str:
    """The tools that were called in full, the others by name."""
    full = [tool for tool in context.tools if tool.name in called]
    others = [tool.name for tool in context.tools if tool.name not in called]
    lines = [
        f"{tool.name}: {tool.description}\n{json.dumps(tool.parameters, indent=1, ensure_ascii=False)}" for tool in full
    ]
    return "\n\n".join(lines + ([f"also on offer: {', '.join(others)}"] if others else []))


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}… ({len(text) - TEXT_LIMIT:,} more characters)"
