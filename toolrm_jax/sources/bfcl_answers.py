"""Published answers of models to BFCL questions, in every layout BFCL's result files have had, as Candidates.

A file holds one answer a line: `id` (or `idx`, a number) and `result`: text for prompted models, a list of
`{function: arguments}` for models asked through a function-calling interface.

Old question ids become v4 ids, but old questions may differ from today's in text or functions; which ones do
is not said in these files. Values of Java and JavaScript questions are source text, as in BFCL's own grading.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.bfcl_checker import LANGUAGES
from toolrm_jax.sources.bfcl_source_text import parse_source
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.parse import Parsed, parse_hermes, parse_openai, parse_python
from toolrm_jax.toolcalls.parse_marked import parse_granite, parse_xlam
from toolrm_jax.toolcalls.types import Call, Candidate

_FILE = re.compile(r"(?:gorilla_openfunctions_v1_test_|BFCL_v\d+_)(.+?)(?:_result)?\.json")
_OLD_CATEGORIES = {
    "simple": "simple_python",
    "java": "simple_java",
    "javascript": "simple_javascript",
    "multiple_function": "multiple",
    "parallel_function": "parallel",
    "parallel_multiple_function": "parallel_multiple",
    "relevance": "irrelevance",
}
"""Names of 2024 and of v3 for categories of v4."""
OTHER_FILE = "file of scores, or of results beyond single turns"

_FENCE = re.compile(r"```\w*\s*(.*?)\s*(?:```|\Z)", re.DOTALL)
_NAME_THEN_JSON = re.compile(r"([\w.-]+)\s*\n\s*(\{.*)", re.DOTALL)
_BETWEEN_STATEMENTS = re.compile(r";\s*(?=[A-Za-z_][\w.]*\()")
_BETWEEN_QUOTED = re.compile(r"',\s*'(?=[A-Za-z_][\w.]*\()")


def read_answers(path: str | Path, drops: Drops | None = None) -> Iterator[tuple[str, str, Candidate]]:
    """(v4 question id, model, candidate) for every line of a result file, or of `result_files` under a folder.

    The model is the folder's name, with the run after `@` where one model has several. An answer that cannot be
    decoded keeps its text in `raw` and has a `fault`, except where no call may be right: there it is a reply in
    text. Raises DataError for a line that is no answer, or where bfcl-eval's questions are missing.
    """
    root = Path(path)
    files = {root: file_category(root.name)} if root.is_file() else result_files(root, drops)
    for file, category in files.items():
        yield from _read_file(file, category)


def result_files(folder: str | Path, drops: Drops | None = None) -> dict[Path, str]:
    """The result files of single-turn categories under a folder, in order, each with its v4 category.

    BFCL keeps other things beside them (`multi_turn/`, `score/`, memory, web search, executable questions): files
    of these are passed over, and counted in `drops`. Raises DataError where no file is left.
    """
    named = sorted(item for item in Path(folder).rglob("*.json") if _FILE.fullmatch(item.name))
    found = {item: category for item in named if (category := _category(item.name)) is not None}
    if not found:
        other = f"; of its {len(named)} BFCL files none is of a single-turn category" if named else ""
        raise DataError(f"{folder}: no BFCL result files there; their names end in `_result.json`{other}")
    if drops is not None:
        for item in named:
            if item not in found:
                drops.add(OTHER_FILE, str(item))
    return found


def _read_file(path: Path, category: str) -> Iterator[tuple[str, str, Candidate]]:
    names, model = offered_names(category), model_name(path)
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); fetch it again") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            question = question_id(row["id"] if "id" in row else row["idx"], category)
            result = row["result"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(f"{path}:{number}: not an answer ({reason}); drop the line") from error
        yield question, model, decode(result, category, names.get(question, ()), f"model:{model}")


def file_category(name: str) -> str:
    """The v4 category of a result file by its name. Raises DataError where it is none of the single-turn ones."""
    category = _category(name)
    if category is None:
        raise DataError(f"{name}: not a result file of a single-turn BFCL category")
    return category


def _category(name: str) -> str | None:
    found = _FILE.fullmatch(name)
    category = _OLD_CATEGORIES.get(found[1], found[1]) if found else None
    return category if category in bfcl.CATEGORIES else None


def question_id(published: str | int, category: str) -> str:
    """The v4 id of a question: `java_3`, or 3 in a file of Java answers, is `simple_java_3`."""
    return f"{category}_{str(published).rpartition('_')[2]}"


def model_name(path: Path) -> str:
    """The model a result file belongs to, from its folders: `<model>@<run>` where a run's name can be told."""
    folders = [part for part in path.parts[:-1] if part not in ("live", "non_live")]
    model = folders[-1] if folders else ""
    above = folders[-2] if len(folders) > 1 else ""
    if above == "result" and len(folders) > 2 and folders[-3] != "berkeley-function-call-leaderboard":
        run = folders[-3]
    elif above.startswith("result-"):
        run = above.removeprefix("result-")
    else:
        run = ""
    return f"{model}@{run}" if run else model


@functools.cache
def offered_names(category: str) -> dict[str, tuple[str, ...]]:
    """Names of the functions on offer, by question id."""
    questions = bfcl.read_questions(bfcl.find_folder(), category)
    return {row["id"]: tuple(function["name"] for function in row["function"]) for row in questions}


def decode(result: Any, category: str, offered: Sequence[str] = (), maker: str = "") -> Candidate:
    """One `result` as a Candidate. Never raises.

    Interfaces for function calling allow no dots in names, so there `math_lcm` becomes `math.lcm` where that is
    on offer; in calls written as code the name stays as the model wrote it.
    """
    raw = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    parsed, dots_lost = _decode_text(result, category) if isinstance(result, str) else (_decode_list(result), True)
    if parsed.fault is not None:
        if category in (*bfcl.NO_CALL, *bfcl.UNKNOWN):
            return Candidate(text=raw, maker=maker, raw=raw)
        return Candidate(maker=maker, raw=raw, fault=parsed.fault)
    dotted = {name.replace(".", "_"): name for name in offered} if dots_lost else {}
    calls = []
    for call in parsed.calls:
        arguments = call.arguments
        if category in LANGUAGES:
            arguments = {name: value if isinstance(value, str) else str(value) for name, value in arguments.items()}
        calls.append(Call(dotted.get(call.name, call.name), arguments))
    return Candidate(tuple(calls), parsed.text, maker, raw)


def _decode_list(result: Any) -> Parsed:
    """A function-calling interface's list of `{name: arguments}`; the texts Gemini puts between are kept."""
    if not isinstance(result, list):
        return Parsed((), "", f"expected a list of calls, found {type(result).__name__}")
    texts = [item for item in result if isinstance(item, str)]
    made = [item for item in result if not isinstance(item, str)]
    if texts and not made:
        return Parsed((), "", "text alone")
    if not all(isinstance(item, Mapping) and len(item) == 1 for item in made):
        return Parsed((), "", "a call is not one name with its arguments")
    functions = [{"name": name, "arguments": arguments} for item in made for name, arguments in item.items()]
    return _parse_objects(functions, "".join(texts).strip())


def _parse_objects(functions: Sequence[Any], text: str = "") -> Parsed:
    return parse_openai({"content": text, "tool_calls": [{"type": "function", "function": item} for item in functions]})


def _decode_text(text: str, category: str) -> tuple[Parsed, bool]:
    """The calls of a text, and whether its notation has no dots in names. Each notation is known by how it begins."""
    body = text.strip()
    if body.startswith("<tool_call>"):
        return parse_hermes(body), True
    if body.startswith("<function_call>"):
        return parse_granite(body), True
    if body.startswith('{"tool_calls"'):
        return parse_xlam(body), False
    if found := _NAME_THEN_JSON.fullmatch(body):
        return _parse_objects([{"name": found[1], "arguments": found[2]}]), True
    return _decode_code(body, category), False


def _decode_code(body: str, category: str) -> Parsed:
    """Calls written as code: fenced or bare, with or without the list's brackets.

    Also `f(); g();` (Raven), `['f()', 'g()']` (Arctic, DBRX) and Markdown's `\\_` for `_` (Mistral), as BFCL allows.
    """
    if fenced := _FENCE.match(body):
        body = fenced[1]
    body = body.strip().strip("'").removesuffix(";").replace("\\_", "_")
    body = _BETWEEN_STATEMENTS.sub(", ", body)
    if body.startswith("['") and body.endswith("']"):
        body = _BETWEEN_QUOTED.sub(", ", f"[{body[2:-2]}]")
    if not body.startswith("["):
        body = "[" + body
    if not body.endswith("]"):
        body += "]"
    return parse_source(body) if category in LANGUAGES else parse_python(body)
