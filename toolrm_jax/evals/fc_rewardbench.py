"""Benchmarks of one right and one real wrong answer per BFCL question.

Two forms are read: the published `ibm-research/fc-reward-bench` (method.md 2.1; Arrow as `datasets.save_to_disk`
writes it, or parquet), and JSON lines of our own (`fc_pairs.jsonl`, `pairs.jsonl`: `id`, `category`, `messages`,
`functions`, `right`, `wrong` or `wrong_raw`, `error_type`). In both a call is `{function name: {argument: value}}`.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.evals import published
from toolrm_jax.evals.benchmark import Benchmark
from toolrm_jax.evals.rebuilt import GROUND_TRUTH, rebuilt
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.rows import ARROW, arrow_rows
from toolrm_jax.toolcalls.score import rule_score
from toolrm_jax.toolcalls.types import Call, Candidate, Context, ErrorType, Group, Message, Reference, Task, Verdict

PUBLISHED_SOURCE = "fc-reward-bench"
PAIRS_SOURCE = "bfcl-pairs"
COLUMNS = ("tools", "conversation", "chosen_output", "rejected_output", "error_type", "test_category", "test_id")

ERROR_TYPES = {
    **{str(kind): kind for kind in ErrorType},
    "parameter value error": ErrorType.VALUE,
    "incorrect number of function calls": ErrorType.NUMBER,
    "parameter value type error": ErrorType.TYPE,
    "parsing error": ErrorType.FORMAT,
}
"""Error types by their names in the paper and on the dataset's card, in lower case."""


def read(path: Path | str) -> Benchmark:
    """A benchmark from a `.jsonl` of pairs, or from an `.arrow` or `.parquet` file or a folder of them.

    Raises DataError, with file and line, for a file or row that cannot be read.
    """
    path = Path(path)
    return read_pairs(path) if path.suffix == ".jsonl" else read_published(path)


def read_parts(path: Path | str) -> tuple[Benchmark, ...]:
    """The benchmark as a whole where it is in the published form; else its non-live and live questions apart."""
    found = read(path)
    if Path(path).suffix != ".jsonl":
        return (found,)
    return tuple(part for part in (found.non_live(), found.live()) if part.groups)


def read_published(path: Path | str) -> Benchmark:
    """The published FC-RewardBench from a folder or file of Arrow or parquet.

    One of our own making says so, and no published rows stand beside it.
    """
    path = Path(path)
    made = rebuilt(path)
    files = [path] if path.is_file() else sorted(file for suffix in ARROW for file in path.rglob(f"*{suffix}"))
    files = [file for file in files if not file.name.startswith("cache-")]  # `datasets` keeps its own there
    if not files or files[0].suffix not in ARROW:
        raise DataError(f"{path}: no {' or '.join(ARROW)} files there; give the data set's folder or a .jsonl file")
    rows = (row for file in files for row in arrow_rows(file, COLUMNS))
    groups = tuple(_group(where, _published_fields, row) for where, row in rows)
    if not groups:
        raise DataError(f"{path}: holds no rows; give the folder of ibm-research/fc-reward-bench")
    if made is not None:
        return Benchmark(made.name, groups, made.note, facts=made.facts)
    note = "FC-RewardBench as published: right calls of BFCL, wrong calls of 25 open models."
    return Benchmark("FC-RewardBench", groups, note, published=published.fc_rewardbench())


def read_pairs(path: Path | str) -> Benchmark:
    """Our own pair files: real answers of real models to BFCL questions, one right and one wrong per question."""
    groups = tuple(_group(where, _pair_fields, row) for where, row in _json_lines(Path(path)))
    if not groups:
        raise DataError(f"{path}: holds no pairs; give a file of one JSON object per line")
    note = "Right and wrong calls that real models wrote for BFCL questions; one pair per question."
    return Benchmark(Path(path).stem, groups, note)


@dataclasses.dataclass(frozen=True, slots=True)
class _Fields:
    """A row of either form, with its parts still as published."""

    id: Any
    source: str
    category: Any
    tools: Any
    messages: Any
    right: Any
    wrong: Any
    error_type: Any
    right_maker: str
    wrong_maker: str
    reason: Any


def _published_fields(row: Mapping[str, Any]) -> _Fields:
    return _Fields(
        id=row["test_id"],
        source=PUBLISHED_SOURCE,
        category=row["test_category"],
        tools=_decoded(row["tools"]),
        messages=_decoded(row["conversation"]),
        right=_decoded(row["chosen_output"]),
        wrong=_decoded(row["rejected_output"]),
        error_type=row["error_type"],
        right_maker=_right_maker(row.get("chosen_model_name")),
        wrong_maker=f"model:{row['model_name']}" if row.get("model_name") else "",
        reason="",
    )


def _right_maker(model: Any) -> str:
    """The published right answers are BFCL's own; ours name the model that gave them."""
    return "reference" if model in (None, GROUND_TRUTH) else f"model:{model}"


def _pair_fields(row: Mapping[str, Any]) -> _Fields:
    wrong = row.get("wrong")
    if wrong is None and not isinstance(row.get("wrong_raw"), str):
        raise DataError("has neither 'wrong' nor 'wrong_raw'")
    return _Fields(
        id=row["id"],
        source=PAIRS_SOURCE,
        category=row["category"],
        tools=row["functions"],
        messages=row["messages"],
        right=row["right"],
        wrong=row["wrong_raw"] if wrong is None else wrong,
        error_type=row["error_type"],
        right_maker="reference" if row.get("right_from") == "reference" else "model",
        wrong_maker="model:" + ",".join(map(str, row.get("wrong_models") or ())),
        reason=row.get("bfcl_error", ""),
    )


def _group(where: str, fields: Callable[[Mapping[str, Any]], _Fields], row: Mapping[str, Any]) -> Group:
    """One row as a group: the right candidate, then the wrong one. Raises DataError that begins with `where`."""
    try:
        return _build(fields(row))
    except KeyError as error:
        raise DataError(f"{where}: {error} is missing; it is no benchmark row") from None
    except (TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{where}: malformed row ({error})") from None
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _build(fields: _Fields) -> Group:
    if not isinstance(fields.id, str) or not isinstance(fields.category, str):
        raise DataError("the id and the category must be text")
    tools = tuple(_tool(item) for item in _listed(fields.tools, "tools"))
    messages = tuple(_message(item) for item in _turns(fields.messages))
    right, wrong = _candidate(fields.right, fields.right_maker), _candidate(fields.wrong, fields.wrong_maker)
    if right.fault is not None:
        raise DataError(f"the right answer is no list of calls ({right.fault})")
    context, reference = Context(tools, messages), Reference(calls=right.calls)
    task = Task(fields.id, fields.source, fields.category, bfcl.LICENCE, context, reference)
    score = rule_score(wrong, right.calls).score
    verdict = Verdict(False, score, _error_type(fields.error_type), str(fields.reason))
    return Group(task, (right, wrong), (Verdict(True, 1.0), verdict))


def _tool(item: Any) -> Any:
    """A function doc with BFCL's or JSON Schema's type names, bare or under OpenAI's key `function`."""
    doc = item.get("function", item)
    return bfcl.tool({"description": "", **doc})


def _turns(messages: Any) -> Iterator[Any]:
    """The messages; BFCL nests each turn's in a list of its own."""
    for item in _listed(messages, "messages"):
        yield from item if isinstance(item, list) else [item]


def _message(item: Any) -> Message:
    if item.get("tool_calls"):
        raise DataError("a message has tool calls, but these questions have one turn")
    return Message(item["role"], item.get("content") or "")


def _candidate(output: Any, maker: str) -> Candidate:
    """Calls, or for what is no list of them the text with its fault."""
    if isinstance(output, list):
        calls = [_call(item) for item in output]
        if all(call is not None for call in calls):
            return Candidate(calls=tuple(calls), maker=maker)
        fault = "not every item is a call"
    else:
        fault = "not a list of calls"
    raw = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    return Candidate(maker=maker, raw=raw, fault=fault)


def _call(item: Any) -> Call | None:
    if not isinstance(item, Mapping) or len(item) != 1:
        return None
    ((name, arguments),) = item.items()
    arguments = _decoded(arguments)
    return Call(name, dict(arguments)) if isinstance(arguments, Mapping) else None


def _error_type(name: Any) -> ErrorType:
    kind = ERROR_TYPES.get(name.strip().lower().replace("_", " ")) if isinstance(name, str) else None
    if kind is None:
        raise DataError(f"unknown error type {name!r}; known: {', '.join(ERROR_TYPES)}")
    return kind


def _listed(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{what} is {type(value).__name__}, not a list")
    return [_decoded(item) for item in value]


def _decoded(value: Any) -> Any:
    """The JSON value that a text holds, or the value itself: columns hold either."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its `file:line`."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give a file of JSON lines") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON ({error}); mend or remove the line") from None
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object, found {type(row).__name__}; mend or remove the line")
        yield where, row
