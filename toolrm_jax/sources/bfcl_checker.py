"""Verdicts by BFCL's own AST checker (package bfcl-eval), behind one function that does not raise.

The checker gets BFCL's original function docs and possible answers. It compares strings without regard to
case, spaces and most punctuation, stops at its first error, and calls every value of a Java or JavaScript
question by its source text.
"""

import contextlib
import dataclasses
import functools
import importlib
import json
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources import bfcl
from toolrm_jax.toolcalls.types import Call, ErrorType

LANGUAGES = {"simple_java": "JAVA", "simple_javascript": "JAVASCRIPT"}
"""The checker's language by category; Python for the others."""

MAX_TEXT = 100_000
"""Longest JSON text of a candidate's calls that is checked; BFCL's longest reference has 3,000 characters."""
MAX_SOURCE = 4_000
"""Longest source text of a Java or JavaScript collection: the checker's patterns for these take cubic time."""

_KINDS = {
    "wrong_count": ErrorType.NUMBER,
    "wrong_func_name": ErrorType.NAME,
    "missing_required": ErrorType.MISSING_REQUIRED,
    "missing_optional": ErrorType.MISSING_OPTIONAL,
    "unexpected_param": ErrorType.UNEXPECTED,
}
_SUFFIXES = {"long": "L", "float": "f"}
_PROGRESS = ("wrong_func_name", "missing_required", "unexpected_param", "type_error", "missing_optional", "value_error")
"""The checker's errors in the order it looks for them: a call that fails later is nearer to the answer."""

_STUMBLES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, NotImplementedError)
"""What the checker's own code raises on values it does not expect."""

Question = tuple[list[dict[str, Any]], list[dict[str, Any]] | None]
"""BFCL's functions and possible answers of one question, as published."""


@dataclasses.dataclass(frozen=True, slots=True)
class BfclVerdict:
    """What BFCL says of a set of calls: its own label and message, and the one of our eight types that fits.

    For parallel questions the label is `<label>>` + that of the sub-error nearest to being right.
    """

    right: bool
    bfcl_error_type: str | None = None
    message: str = ""
    error_type: ErrorType | None = None


def check(category: str, question: str | Question, calls: Sequence[Call]) -> BfclVerdict:
    """BFCL's verdict on `calls` for a question, given by id or as (functions, possible answers).

    Wrong, with a reason, for any values the checker cannot handle. In Java and JavaScript categories values
    that are no strings are put as source text first, as the checker wants them. Raises DataError only for an
    unknown category or question, or where bfcl-eval is missing.
    """
    if category not in bfcl.CATEGORIES:
        raise DataError(f"BFCL: unknown category {category!r}; known: {', '.join(bfcl.CATEGORIES)}")
    if category in bfcl.NO_CALL:
        return BfclVerdict(True) if not calls else _wrong("irrelevance_error:decoder_success", "A call was made.")
    if category in bfcl.UNKNOWN:
        return BfclVerdict(True) if calls else _wrong("relevance_error:decoder_failed", "No call was made.")
    functions, answers = published(category)[question] if _known(category, question) else question
    if (reason := _too_large(calls)) is not None:
        return _wrong("checker:too_large", reason)
    output = [{call.name: _values(call, functions, category)} for call in calls]
    if category in LANGUAGES and _long_collection(output, functions):
        return _wrong("checker:too_large", f"A collection is longer than {MAX_SOURCE} characters.")
    checker = ast_checker()
    language = getattr(checker.Language, LANGUAGES.get(category, "PYTHON"))
    try:
        found = checker.ast_checker(functions, output, answers, language, category, "any")
    except _STUMBLES as error:
        return _wrong("checker:failed", f"{type(error).__name__}: {error}")
    return BfclVerdict(True) if found["valid"] else _from_checker(found)


def _known(category: str, question: str | Question) -> bool:
    if not isinstance(question, str):
        return False
    if question not in published(category):
        raise DataError(f"BFCL: no question {question!r} in {category}")
    return True


@functools.cache
def published(category: str) -> dict[str, Question]:
    """BFCL's own functions and possible answers of a category, by question id, from the installed package."""
    folder = bfcl.find_folder()
    answers = bfcl.read_possible_answers(folder, category)
    rows = bfcl.read_questions(folder, category)
    return {row["id"]: (row["function"], answers.get(row["id"])) for row in rows}


def _wrong(label: str, message: str) -> BfclVerdict:
    return BfclVerdict(False, label, message, error_type(label))


def error_type(label: str) -> ErrorType:
    """The one of the eight types that a label of BFCL's checker stands for."""
    group, _, name = label.rpartition(">")[2].partition(":")
    if name in _KINDS:
        return _KINDS[name]
    if group in ("irrelevance_error", "relevance_error"):
        return ErrorType.NUMBER
    if group == "ast_decoder":
        return ErrorType.FORMAT
    return ErrorType.TYPE if group in ("type_error", "checker") else ErrorType.VALUE


def _from_checker(found: dict[str, Any]) -> BfclVerdict:
    label, errors = found["error_type"], found["error"]
    subs = [sub for item in errors if isinstance(item, dict) for sub in item.values()]
    if subs:
        nearest = max(subs, key=lambda sub: _progress(sub["sub_error_type"]))
        label, errors = f"{label}>{nearest['sub_error_type']}", nearest["sub_error"]
    return _wrong(label, "; ".join(map(str, errors)))


def _progress(label: str) -> int:
    group, _, name = label.partition(":")
    for word in (name, group):
        if word in _PROGRESS:
            return _PROGRESS.index(word)
    return _PROGRESS.index("value_error")


def _too_large(calls: Sequence[Call]) -> str | None:
    try:
        size = sum(len(json.dumps(call.arguments)) for call in calls)
    except (TypeError, ValueError, RecursionError) as error:
        return f"The arguments are not JSON ({type(error).__name__})."
    return f"The arguments are longer than {MAX_TEXT} characters." if size > MAX_TEXT else None


def _long_collection(output: Sequence[dict[str, dict[str, str]]], functions: Sequence[dict[str, Any]]) -> bool:
    """Whether any function on offer takes one of the long values for a collection."""
    kinds = [
        (name, bfcl.JSON_TYPES.get(doc.get("type")))
        for function in functions
        for name, doc in function["parameters"]["properties"].items()
    ]
    collections = {name for name, kind in kinds if kind in ("array", "object")}
    values = (item for call in output for arguments in call.values() for item in arguments.items())
    return any(name in collections and len(value) > MAX_SOURCE for name, value in values)


def _values(call: Call, functions: Sequence[dict[str, Any]], category: str) -> dict[str, Any]:
    if category not in LANGUAGES:
        return call.arguments
    parameters = next((item["parameters"]["properties"] for item in functions if item["name"] == call.name), {})
    return {name: _source_text(value, parameters.get(name, {}), category) for name, value in call.arguments.items()}


def _source_text(value: Any, doc: dict[str, Any], category: str) -> str:
    """A typed value as the Java or JavaScript text the checker's type converters read back to it."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    kind = doc.get("type")
    if category == "simple_javascript":
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        inner = doc.get("items", {})
        texts = [_source_text(item, inner, category) for item in value]
        if kind == "ArrayList":
            quoted = [f'"{text}"' if inner.get("type") in ("String", "char") else text for text in texts]
            return f"new ArrayList<>(Arrays.asList({', '.join(quoted)}))" if quoted else "new ArrayList<>()"
        return f"new {inner.get('type', 'Object')}[]{{{', '.join(texts)}}}"
    if isinstance(value, dict):
        puts = "".join(f' put("{key}", {json.dumps(item, ensure_ascii=False)});' for key, item in value.items())
        return f"new HashMap<String, Object>() {{{{{puts} }}}}" if puts else "new HashMap<>()"
    return f"{value}{_SUFFIXES.get(kind, '')}"


@functools.cache
def ast_checker() -> types.ModuleType:
    """BFCL's checker module, loaded without the model handlers it names. Raises DataError where it is missing."""
    bfcl.find_folder()
    with _without_handlers():
        try:
            return importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
        except ImportError as error:
            raise DataError(f"BFCL's checker cannot be loaded ({error}); reinstall bfcl-eval") from error


@contextlib.contextmanager
def _without_handlers() -> Iterator[None]:
    """Stand in for the module that imports every vendor's client, and leave `sys.modules` as it was.

    The checker asks it only whether dots in function names became underscores; here they never do.
    """
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "bfcl_eval"}
    for name in before:
        del sys.modules[name]
    stand_in = types.ModuleType("bfcl_eval.constants.model_config")
    stand_in.MODEL_CONFIG_MAPPING = {"any": types.SimpleNamespace(underscore_to_dot=False)}
    sys.modules[stand_in.__name__] = stand_in
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "bfcl_eval"]:
            del sys.modules[name]
        sys.modules.update(before)
