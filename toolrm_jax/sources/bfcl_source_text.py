"""Calls written in Java or JavaScript, as models answer BFCL: names and named values, the values as source text."""

import re
from collections.abc import Iterator

from toolrm_jax.toolcalls.parse import DEPTH_LIMIT, SIZE_LIMIT, Parsed
from toolrm_jax.toolcalls.types import Call

_CALL = re.compile(r"([A-Za-z_$][\w$.]*)\s*\((.*)\)", re.DOTALL)
_ARGUMENT = re.compile(r"([A-Za-z_$][\w$]*)\s*=(?![=>])(.*)", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')"""
    r"""|(?P<generics>(?<=\w)<[\w\s,?.<>\[\]]{0,200}>(?=\s*[\[({]))"""
    r"""|(?P<open>[\[({])|(?P<close>[\])}])|(?P<comma>,)""",
    re.DOTALL,
)
"""What matters for finding commas at the top level; strings and generics may hold commas of their own."""


class _Fault(ValueError):
    """Why a text is not a list of calls."""


def parse_source(text: str) -> Parsed:
    """Calls of `[A.f(x=new int[]{1, 2}, y="a"), g()]`, brackets optional; every value is its source text.

    A value that is one quoted string loses its quotes, as in BFCL. Never raises; a text that is not a list of
    calls gives a fault.
    """
    body = text.strip()
    if len(body) > SIZE_LIMIT:
        return Parsed((), text, f"longer than {SIZE_LIMIT} characters")
    if body.startswith("[") and body.endswith("]"):
        body = body[1:-1]
    try:
        return Parsed(tuple(_call(piece) for piece in _split(body)))
    except _Fault as fault:
        return Parsed((), text, str(fault))


def _call(piece: str) -> Call:
    found = _CALL.fullmatch(piece)
    if found is None:
        raise _Fault("not a call")
    arguments: dict[str, str] = {}
    for argument in _split(found[2]):
        pair = _ARGUMENT.fullmatch(argument)
        if pair is None:
            raise _Fault("a value has no name")
        if pair[1] in arguments:
            raise _Fault("a parameter is given twice")
        arguments[pair[1]] = _unquoted(pair[2].strip())
    return Call(found[1], arguments)


def _unquoted(source: str) -> str:
    token = _TOKEN.match(source)
    return source[1:-1] if token and token["string"] and token.end() == len(source) else source


def _split(text: str) -> Iterator[str]:
    """The stripped pieces between the commas at the top level; none for an empty text."""
    depth, start = 0, 0
    for token in _TOKEN.finditer(text):
        if token["open"]:
            depth += 1
        elif token["close"]:
            depth -= 1
        elif token["comma"] and depth == 0:
            yield text[start : token.start()].strip()
            start = token.end()
        if depth < 0:
            raise _Fault("a bracket is closed that was not opened")
        if depth > DEPTH_LIMIT:
            raise _Fault(f"nested deeper than {DEPTH_LIMIT}")
    if depth:
        raise _Fault("a bracket is not closed")
    if start or text.strip():
        yield text[start:].strip()
