"""Python-style notation, `[f(a=1), g.h(b="x")]`, as models write it that are prompted for BFCL.

Values are literals of strings, numbers, True, False, None, lists, tuples (which become lists) and dictionaries with
string keys. `ast.parse` is not used: deep nesting and long chains of operators can exhaust the interpreter's C stack.
"""

from __future__ import annotations

import re
from typing import Any

from toolrm_jax.toolcalls.parsed import (
    DEPTH_LIMIT,
    Fault,
    Parsed,
    check_text,
    faulty,
    read_float,
    read_int,
    without_thinking,
)
from toolrm_jax.toolcalls.python_strings import STRING_START, read_string
from toolrm_jax.toolcalls.types import Call

# All quantifiers are possessive: nothing is read twice, so time stays linear.
_SKIP = re.compile(r"(?:[ \t\r\n\f]++|#[^\n]*+|\\\r?\n)*+")
_NAME = re.compile(r"[^\W\d]\w*+")
_DOTTED = re.compile(r"[^\W\d]\w*+(?:\.[^\W\d]\w*+)*+")
_NUMBER = re.compile(
    r"(?P<based>0[xXoObB][0-9a-fA-F_]++)"
    r"|(?P<float>(?:[0-9][0-9_]*+\.[0-9_]*+|\.[0-9][0-9_]*+)(?:[eE][+-]?[0-9_]++)?+|[0-9][0-9_]*+[eE][+-]?[0-9_]++)"
    r"|(?P<int>[0-9][0-9_]*+)"
)
_BASED_LIMIT = 64  # characters of a hexadecimal, octal or binary integer
_CONSTANTS = {"True": True, "False": False, "None": None}
_ATTEMPT = re.compile(r"\[|[^\W\d]\w*+(?:\.[^\W\d]\w*+)*+\(")
_FENCE = re.compile(r"```[\w+-]*[ \t]*\n|`++(?:(?:python|json)(?=\s))?")


def parse_python(text: str) -> Parsed:
    """Calls from a list of calls, or calls joined by commas; a code fence and a leading think block are dropped.

    A text that neither opens a bracket nor begins like a call (`name(`) is an answer in words: text without a fault.
    Faults, one line each: positional arguments, names, attributes, calls or arithmetic as values, repeated arguments,
    anything but calls in the list, text after it.
    """
    try:
        check_text(text)
    except Fault as fault:
        return faulty(text, fault)
    body = without_thinking(text).strip()
    code = _without_fence(body)
    if not _ATTEMPT.match(code):
        return Parsed((), body)
    try:
        return Parsed(tuple(_Reader(code).answer()))
    except Fault as fault:
        return faulty(body, fault)


def _without_fence(text: str) -> str:
    if not text.startswith("`"):
        return text
    return text[_FENCE.match(text).end() :].rstrip("`").strip()


class _Reader:
    """Reads one text from left to right; `place` is the next character. Recursion is bounded by DEPTH_LIMIT."""

    __slots__ = ("place", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    def answer(self) -> list[Call]:
        bracketed = self.peek() == "["
        self.place += bracketed
        calls = []
        end = "]" if bracketed else ""
        while self.peek() != end:
            calls.append(self.call())
            if not self.comma(end):
                break
        self.place += bracketed
        if rest := self.peek():
            raise self.unexpected(rest, "the end")
        return calls

    def call(self) -> Call:
        name = _DOTTED.match(self.text, self.place)
        if name is None:
            raise self.unexpected(self.peek(), "a call")
        self.place = name.end()
        if self.peek() != "(":
            raise Fault(f"{name[0][:40]!r} is not a call")
        self.place += 1
        arguments: dict[str, Any] = {}
        while self.peek() != ")":
            key = self.keyword(name[0])
            if key in arguments:
                raise Fault(f"argument {key[:40]!r} of {name[0][:40]!r} is repeated")
            arguments[key] = self.value(1)
            if not self.comma(")"):
                break
        self.place += 1
        return Call(name[0], arguments)

    def keyword(self, call: str) -> str:
        """The name before `=`, which is passed over too."""
        key = _NAME.match(self.text, self.place)
        if key is not None:
            self.place = key.end()
            if self.peek() == "=" and not self.text.startswith("==", self.place):
                self.place += 1
                return key[0]
        raise Fault(f"an argument of {call[:40]!r} has no name")

    def value(self, depth: int) -> Any:
        if depth > DEPTH_LIMIT:
            raise Fault(f"nested deeper than {DEPTH_LIMIT}")
        first = self.peek()
        if first == "[":
            return self.items("]", depth)[0]
        if first == "(":
            items, commas = self.items(")", depth)
            return items[0] if len(items) == 1 and not commas else items
        if first == "{":
            return self.dictionary(depth)
        if STRING_START.match(self.text, self.place):
            return self.string()
        if name := _NAME.match(self.text, self.place):
            return self.constant(name)
        return self.number()

    def items(self, end: str, depth: int) -> tuple[list[Any], int]:
        """The values up to `end`, and how many commas stood among them."""
        self.place += 1
        found: list[Any] = []
        commas = 0
        while self.peek() != end:
            found.append(self.value(depth + 1))
            if not self.comma(end):
                break
            commas += 1
        self.place += 1
        return found, commas

    def dictionary(self, depth: int) -> dict[str, Any]:
        self.place += 1
        found: dict[str, Any] = {}
        while self.peek() != "}":
            key = self.value(depth + 1)
            if self.peek() != ":":
                raise self.unexpected(self.peek(), "':' (a set is not a value)")
            if not isinstance(key, str):
                raise Fault("a dictionary's key is not a string")
            if key in found:
                raise Fault(f"the key {key[:40]!r} is repeated")
            self.place += 1
            found[key] = self.value(depth + 1)
            if not self.comma("}"):
                break
        self.place += 1
        return found

    def string(self) -> str:
        """One string, or several side by side, which Python joins."""
        pieces = []
        while STRING_START.match(self.text, self.place):
            piece, self.place = read_string(self.text, self.place)
            pieces.append(piece)
            self.peek()
        return "".join(pieces)

    def constant(self, name: re.Match[str]) -> bool | None:
        if name[0] not in _CONSTANTS:
            self.place = name.end()
            kind = {".": "the attribute of", "(": "a call of", "[": "an item of"}.get(self.peek(), "the bare name")
            raise Fault(f"{kind} {name[0][:40]!r} is not a value")
        self.place = name.end()
        return _CONSTANTS[name[0]]

    def number(self) -> int | float:
        sign = self.peek()
        if sign in ("-", "+"):
            self.place += 1
            self.peek()
        number = _NUMBER.match(self.text, self.place)
        if number is None:
            raise self.unexpected(self.peek(), "a value")
        self.place = number.end()
        value = _number(number)
        return -value if sign == "-" else value

    def comma(self, end: str) -> bool:
        """Pass over a comma; False at `end`. Raises Fault for anything else."""
        found = self.peek()
        if found == ",":
            self.place += 1
            return True
        if found != end:
            raise self.unexpected(found, f"',' or {end!r}" if end else "','")
        return False

    def peek(self) -> str:
        """The next character that is not space or comment, moved to; empty at the end."""
        character = self.text[self.place : self.place + 1]
        if character in " \t\r\n\f#\\" and character:
            self.place = _SKIP.match(self.text, self.place).end()
            character = self.text[self.place : self.place + 1]
        return character

    def unexpected(self, found: str, expected: str) -> Fault:
        if found and found in "+-*/%@<>=&|^!":
            return Fault(f"an expression with {found!r} is not a value, at character {self.place}")
        return Fault(f"expected {expected}, found {found!r} at character {self.place}" if found else "not closed")


def _number(number: re.Match[str]) -> int | float:
    digits = number[0]
    try:
        if number["float"]:
            return read_float(digits)
        if number["int"]:
            if digits[0] == "0" and digits.strip("0_"):
                raise Fault(f"the number {digits[:20]} begins with 0")
            return read_int(digits)
        if len(digits) > _BASED_LIMIT:
            raise Fault(f"an integer of {len(digits)} digits")
        return int(digits, 0)
    except ValueError as error:
        raise error if isinstance(error, Fault) else Fault(f"{digits[:20]!r} is not a number") from None
