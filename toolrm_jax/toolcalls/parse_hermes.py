"""Hermes notation: `<tool_call>` blocks, each with one JSON object, as Qwen's chat templates write them."""

from __future__ import annotations

import re

from toolrm_jax.toolcalls.parse_json import decode_json, json_object_end, read_call
from toolrm_jax.toolcalls.parsed import Fault, Parsed, check_text, faulty, without_thinking
from toolrm_jax.toolcalls.types import Call

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_SPACE = re.compile(r"\s*")


def parse_hermes(text: str) -> Parsed:
    """Calls and the text around them (pieces stripped, joined by newlines); a closed leading think block is dropped.

    A block is read as JSON first, so `</tool_call>` inside a string does not end it. One malformed block is a fault
    of the whole answer, e.g. "block 2: not JSON: Expecting ',' delimiter at character 17".
    `parse_hermes(render_hermes(calls, text))` gives the calls and the stripped text back.
    """
    try:
        check_text(text)
    except Fault as fault:
        return faulty(text, fault)
    body = without_thinking(text)
    try:
        calls, pieces = _blocks(body)
    except Fault as fault:
        return faulty(body, fault)
    return Parsed(tuple(calls), "\n".join(piece for piece in pieces if piece))


def _blocks(text: str) -> tuple[list[Call], list[str]]:
    calls: list[Call] = []
    pieces: list[str] = []
    place = 0
    while (opened := text.find(_OPEN, place)) >= 0:
        pieces.append(_outside(text[place:opened]))
        try:
            call, place = _block(text, opened + len(_OPEN))
        except Fault as fault:
            raise Fault(f"block {len(calls) + 1}: {fault}") from None
        calls.append(call)
    pieces.append(_outside(text[place:]))
    return calls, pieces


def _block(text: str, place: int) -> tuple[Call, int]:
    """The call of the block whose content begins at `place`, and where the text goes on."""
    start = _SPACE.match(text, place).end()
    if not text.startswith("{", start):
        content = text[start : start + 20].partition(_CLOSE)[0]
        raise Fault(f"not a JSON object but {content!r}" if content else "empty")
    end = json_object_end(text, start)
    call = read_call(decode_json(text[start:end]))
    closed = _SPACE.match(text, end).end()
    if not text.startswith(_CLOSE, closed):
        raise Fault("text after the JSON object" if text.find(_CLOSE, closed) >= 0 else f"{_CLOSE} is missing")
    return call, closed + len(_CLOSE)


def _outside(text: str) -> str:
    if _CLOSE in text:
        raise Fault(f"{_CLOSE} without {_OPEN}")
    return text.strip()
