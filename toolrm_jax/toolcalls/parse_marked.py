"""JSON calls behind a marker of their own, or behind none: Granite, Mistral, Llama, DeepSeek, xLAM and other models.

Each function reads what the chat template of its family has the model write (source beside it). As everywhere: a
malformed call is a fault of the whole answer, a text without the marker is an answer in words, a leading think block is
dropped, no input raises, and time grows linearly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolrm_jax.toolcalls.parse_hermes import parse_hermes
from toolrm_jax.toolcalls.parse_json import decode_json, json_object_end, read_call
from toolrm_jax.toolcalls.parse_python import parse_python
from toolrm_jax.toolcalls.parsed import Fault, Parsed, check_text, faulty, without_thinking
from toolrm_jax.toolcalls.types import Call

Found = tuple[list[Call], str]

_ENDS = (
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|eom|>",
    "<|im_end|>",
    "</s>",
    "<｜end▁of▁sentence｜>",
)
_FENCE = re.compile(r"\A```(?:json|python)?[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_BETWEEN = re.compile(r"[\s;,]*+")
_GRANITE_LIST = ("<|tool_call|>", "<tool_call>")
_GRANITE_ONE = "<function_call>"
_MISTRAL, _ARGS, _CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_PYTHON_TAG = re.compile(r"\A<\|python_(?:tag|start)\|>")
_PYTHON_END = "<|python_end|>"
_DEEPSEEK = re.compile(r"<｜tool▁calls▁begin｜>")
_DEEPSEEK_CALL, _DEEPSEEK_SEP = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"
_DEEPSEEK_CALL_END, _DEEPSEEK_END = "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"
_FENCED_JSON = re.compile(r"\s*+```json\s*+")
_BLOCK = re.compile(r"(?:^[ \t]*+|(?:```[a-z]*+|<tools>)\s*+)(?=[\[{])", re.MULTILINE)
_BLOCK_END = re.compile(r"\s*+(?:```|</tools>)")
_UNMARKED = re.compile(r"\[?\s*+\{\s*+\"(?:name|arguments|parameters|tool_calls)\"\s*+:|\[\s*+\]")


def parse_granite(text: str) -> Parsed:
    """`<|tool_call|>[{"name": …, "arguments": …}, …]` (Granite 3), or `<function_call> {…} <function_call> {…}`.

    `no_function` of the latter (granite-20b-functioncalling) stands for no call. Granite 4 writes as Hermes does.
    Source: the chat templates of ibm-granite/granite-3.3-8b-instruct and granite-20b-functioncalling.
    """

    def read(body: str) -> Found:
        if _GRANITE_ONE in body:
            return _granite_blocks(body)
        for marker in _GRANITE_LIST:
            before, found, rest = body.partition(marker)
            if found and rest.lstrip()[:1] == "[":
                calls, end = _listed(rest, _start(rest))
                after = rest[end:].strip().removeprefix(marker.replace("<", "</")).strip()
                return calls, _joined(before, after)
        return [], body.strip()

    parsed = _guarded(text, read)
    if parsed.fault is None and not parsed.calls and "<tool_call>" in parsed.text:
        return parse_hermes(text)
    return parsed


def parse_mistral(text: str) -> Parsed:
    """`[TOOL_CALLS] [{"name": …, "arguments": …, "id": …}]`, or from version 11 `[TOOL_CALLS]name[ARGS]{…}` each.

    Source: mistral-common, the tokenizers of versions 3 and 11.
    """

    def read(body: str) -> Found:
        before, found, rest = body.partition(_MISTRAL)
        if not found:
            return [], body.strip()
        if rest.lstrip()[:1] == "[":
            calls, end = _listed(rest, _start(rest))
            return calls, _joined(before, rest[end:])
        calls, place = [], 0
        while True:
            marked = rest.find(_ARGS, place)
            name = (rest[place:marked] if marked >= 0 else rest[place:]).strip()
            if marked < 0:
                raise Fault(f"call {len(calls) + 1}: no {_ARGS} after {name[:40]!r}")
            start = _start(rest, marked + len(_ARGS))
            end = _object_end(rest, start)
            calls.append(_call(name.partition(_CALL_ID)[0], rest[start:end], len(calls) + 1))
            place = _start(rest, end)
            if not rest.startswith(_MISTRAL, place):
                return calls, _joined(before, rest[place:])
            place += len(_MISTRAL)

    return _guarded(text, read)


def parse_llama(text: str) -> Parsed:
    """`{"name": …, "parameters": {…}}`, several parted by `;` or lines, behind `<|python_tag|>` or not; or pythonic.

    Pythonic, `[f(a=1), g()]`, is what Llama 3.2 and 4 write, the latter between `<|python_start|>` and
    `<|python_end|>`.
    Source: the chat templates of meta-llama/Llama-3.1-8B-Instruct and Llama-4-Scout-17B-16E-Instruct.
    """

    def read(body: str) -> Found:
        code = _PYTHON_TAG.sub("", body.strip()).replace(_PYTHON_END, "").strip()
        if not code.startswith("{"):
            parsed = parse_python(code)
            if parsed.fault is not None:
                raise Fault(parsed.fault)
            return list(parsed.calls), parsed.text
        calls, place = [], 0
        while place < len(code):
            if code[place] != "{":
                raise Fault(f"call {len(calls) + 1}: text after the JSON object")
            end = _object_end(code, place)
            try:
                calls.append(read_call(_named(decode_json(code[place:end]))))
            except Fault as fault:
                raise Fault(f"call {len(calls) + 1}: {fault}") from None
            place = _BETWEEN.match(code, end).end()
        return calls, ""

    return _guarded(text, read)


def parse_xlam(text: str) -> Parsed:
    """A JSON list of `{"name": …, "arguments": …}`, fenced or not, or `{"tool_calls": [that list]}`.

    Source: the prompts of Salesforce/xLAM-1b-fc-r and the chat template of xLAM-2-3b-fc-r.
    """

    def read(body: str) -> Found:
        code = body.strip()
        if fenced := _FENCE.match(code):
            code = fenced[1].strip()
        if code.startswith('{"tool_calls"'):
            value = decode_json(code)
            return _objects(value.get("tool_calls")), ""
        if not code.startswith("["):
            return [], body.strip()
        return _objects(decode_json(code)), ""

    return _guarded(text, read)


def parse_unmarked(text: str) -> Parsed:
    """Calls in JSON as models write them that were not taught a notation, or forget theirs.

    A call, several one after the other, or a list of them: at the start of a line, in fences of Markdown or between
    `<tools>` tags, with words around. JSON that does not begin as a call is words.
    Seen in the answers of Qwen2.5-Coder-0.5B-Instruct, whose template asks for `<tool_call>` tags.
    """

    def read(body: str) -> Found:
        calls: list[Call] = []
        words, place = [], 0
        for block in _BLOCK.finditer(body):
            start = block.end()
            if block.start() < place or not _UNMARKED.match(body, start):
                continue
            words.append(body[place : block.start()])
            while body[start : start + 1] in ("{", "["):
                place = json_object_end(body, start)
                calls += _any_calls(decode_json(body[start:place]), len(calls))
                start = _BETWEEN.match(body, place).end()
            if closing := _BLOCK_END.match(body, place):
                place = closing.end()
        return calls, _joined(*words, body[place:])

    return _guarded(text, read)


def parse_deepseek(text: str) -> Parsed:
    """`<｜tool▁calls▁begin｜>`, then per call `<｜tool▁call▁begin｜>…<｜tool▁sep｜>…<｜tool▁call▁end｜>`.

    V3 and R1 write `function`, the separator, the name and a fenced JSON object; V3.1 the name, the separator and the
    object bare. Source: the chat templates of deepseek-ai/DeepSeek-V3-0324 and DeepSeek-V3.1.
    """

    def read(body: str) -> Found:
        marker = _DEEPSEEK.search(body)
        if marker is None:
            if _DEEPSEEK_CALL in body:
                raise Fault("a call outside of the block of calls")
            return [], body.strip()
        calls, place = [], _start(body, marker.end())
        while body.startswith(_DEEPSEEK_CALL, place):
            number = len(calls) + 1
            parted = body.find(_DEEPSEEK_SEP, place)
            if parted < 0:
                raise Fault(f"call {number}: no separator")
            first = body[place + len(_DEEPSEEK_CALL) : parted].strip()
            start = parted + len(_DEEPSEEK_SEP)
            if first == "function":
                line, _, _ = body[start : start + 1000].partition("\n")
                first, start = line.strip(), start + len(line)
            fenced = _FENCED_JSON.match(body, start)
            start = fenced.end() if fenced else _start(body, start)
            end = _object_end(body, start)
            calls.append(_call(first, body[start:end], number))
            place = _start(body, end)
            if fenced and body.startswith("```", place):
                place = _start(body, place + 3)
            if not body.startswith(_DEEPSEEK_CALL_END, place):
                raise Fault(f"call {number}: not closed")
            place = _start(body, place + len(_DEEPSEEK_CALL_END))
        if not body.startswith(_DEEPSEEK_END, place):
            raise Fault("the block of calls is not closed")
        return calls, _joined(body[: marker.start()], body[place + len(_DEEPSEEK_END) :])

    return _guarded(text, read)


def _guarded(text: str, read: Callable[[str], Found]) -> Parsed:
    try:
        check_text(text)
    except Fault as fault:
        return faulty(text, fault)
    body = _without_end(without_thinking(text))
    try:
        calls, rest = read(body)
    except Fault as fault:
        return faulty(body, fault)
    return Parsed(tuple(calls), rest)


def _without_end(text: str) -> str:
    """The text without the tokens that end a turn, which some servers leave in place."""
    end = len(text)
    while end:
        if text[end - 1].isspace():
            end -= 1
        elif found := next((mark for mark in _ENDS if text.endswith(mark, 0, end)), None):
            end -= len(found)
        else:
            break
    return text[:end]


def _granite_blocks(body: str) -> Found:
    before, *blocks = body.split(_GRANITE_ONE)
    values = [decode_json(block) for block in blocks]
    return _objects([value for value in values if not _is_no_function(value)]), before.strip()


def _is_no_function(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("name") == "no_function"


def _listed(text: str, start: int) -> tuple[list[Call], int]:
    """The calls of the JSON list that opens at `start`, and where it ends."""
    end = json_object_end(text, start)
    return _objects(decode_json(text[start:end])), end


def _any_calls(value: Any, before: int) -> list[Call]:
    """The calls of one JSON value: a call, a list of them, or such a list under `tool_calls`."""
    if isinstance(value, Mapping):
        value = value.get("tool_calls", [value])
    return _objects([_named(each) for each in value] if isinstance(value, list) else value, before)


def _objects(values: Any, before: int = 0) -> list[Call]:
    """The calls of a list; `before`: how many calls stand before it."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise Fault("not a list of calls")
    calls = []
    for number, value in enumerate(values, before + 1):
        try:
            calls.append(read_call(value))
        except Fault as fault:
            raise Fault(f"call {number}: {fault}") from None
    return calls


def _call(name: str, arguments: str, number: int) -> Call:
    try:
        return read_call({"name": name.strip(), "arguments": decode_json(arguments)})
    except Fault as fault:
        raise Fault(f"call {number}: {fault}") from None


def _named(value: Any) -> Any:
    """Llama's object with `parameters` under the name that the others use."""
    if isinstance(value, Mapping) and "parameters" in value and "arguments" not in value:
        return {"name": value.get("name"), "arguments": value["parameters"]}
    return value


def _object_end(text: str, start: int) -> int:
    if not text.startswith("{", start):
        raise Fault(f"not a JSON object but {text[start : start + 20]!r}" if text[start:] else "not closed")
    return json_object_end(text, start)


def _start(text: str, place: int = 0) -> int:
    """The place of the next character that is no space."""
    return _BLANK.match(text, place).end()


_BLANK = re.compile(r"\s*+")


def _joined(*pieces: str) -> str:
    return "\n".join(piece for piece in map(str.strip, pieces) if piece)
