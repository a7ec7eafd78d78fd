"""Tools, calls and results that a data set writes into the text of its messages, between tags."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from toolrm_jax.sources.drops import Unfit
from toolrm_jax.sources.literals import loads, read_call, read_calls
from toolrm_jax.sources.tools import read_tools, unlike
from toolrm_jax.sources.trajectories import Transcript
from toolrm_jax.toolcalls.types import Call, Tool

_TOOLS = re.compile(r"<(tools?)>(.*?)</\1>", re.DOTALL)
_CALL = re.compile(r"<(tool_call|call)>\s*(.*?)\s*</\1>", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)
_FINAL = re.compile(r"</?final>")
_BLOCK_TITLE = re.compile(r"\n*# Tools\s*$|\n*You may call one or more functions.*$", re.DOTALL)
_INSTRUCTIONS = re.compile(r"^\s*(?:You are a function calling AI model|You are an expert in using functions)")


def split_system(text: str) -> tuple[str, tuple[Tool, ...]]:
    """A system message without the block that lists the tools, and those tools. Raises Unfit.

    What stands above the block is the agent's policy, and stays; instructions on how to write calls go with the
    tools, since every template brings its own.
    """
    found = next((found for found in _TOOLS.finditer(text) if found[2].strip()[:1] in ("{", "[")), None)
    if found is None:
        return text, ()
    above = text[: found.start()]
    policy = "" if _INSTRUCTIONS.match(above) else _BLOCK_TITLE.sub("", above.partition("# Tools")[0])
    return policy.strip(), listed_tools(found[2])


def listed_tools(text: str) -> tuple[Tool, ...]:
    """Tools as one JSON list, or one object after the other. Raises Unfit."""
    text = text.strip()
    if text.startswith("["):
        return read_tools(_python_too(text))
    decoder, place, found = json.JSONDecoder(), 0, []
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except ValueError:
            return read_tools([_python_too(line) for line in text.splitlines() if line.strip()])
        found.append(value)
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
    return unlike(tool for value in found for tool in read_tools(value))


def _python_too(text: str) -> object:
    try:
        return loads(text)
    except ValueError:
        return text  # read_tools says what is wrong


def split_answer(text: str) -> tuple[str, tuple[Call, ...], str | None]:
    """An assistant's words, its calls, and why they are not calls, where they are not.

    Calls stand in `<tool_call>` blocks, one each, or in one `<call>` block as a list; `<final>` is only a mark.
    """
    calls: list[Call] = []
    try:
        for found in _CALL.finditer(text):
            calls += read_calls(found[2])
    except Unfit as fault:
        return text, (), fault.detail or fault.reason
    words = _FINAL.sub("", _CALL.sub("", text)).strip()
    if "<tool_call>" in words or "<call>" in words:
        return text, (), "a block of calls is not closed"
    return words, tuple(calls), None


def split_results(text: str) -> list[str]:
    """The results of one message: those in `<tool_response>` blocks, or the text itself."""
    return _RESULT.findall(text) or [text]


def button_results(text: str) -> list[tuple[str | None, str]]:
    """(tool, result) of a list of `{"name": ..., "arguments": ..., "results": ...}`; other texts stay whole."""
    try:
        items = loads(text)
        return [(read_call(item).name, json.dumps(item["results"], ensure_ascii=False)) for item in items]
    except (ValueError, KeyError, TypeError):
        return [(None, text)]


def add_answer(said: Transcript, text: str) -> None:
    """Put an assistant's text with its calls into the transcript."""
    words, calls, fault = split_answer(text)
    said.assistant(words, calls, fault)


def add_results(said: Transcript, text: str, names: Sequence[str] = ()) -> None:
    """Put the results of one message into the transcript."""
    for index, result in enumerate(split_results(text)):
        said.result(result, names[index] if index < len(names) else None)
