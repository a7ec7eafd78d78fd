"""Python's string literals, read without Python's compiler."""

from __future__ import annotations

import re
import unicodedata

from toolrm_jax.toolcalls.parsed import Fault, check_encodable

STRING_START = re.compile(r"(?P<prefix>[rRuUbBfF]{0,2})(?P<quote>'''|\"\"\"|'|\")")

# The rest of a string after its opening quote, the closing one in group 1. Possessive: time stays linear.
_REST = {
    "'": re.compile(r"(?:[^'\\\n]++|\\.)*+(')", re.DOTALL),
    '"': re.compile(r'(?:[^"\\\n]++|\\.)*+(")', re.DOTALL),
    "'''": re.compile(r"(?:[^'\\]++|\\.|'(?!''))*+(''')", re.DOTALL),
    '"""': re.compile(r'(?:[^"\\]++|\\.|"(?!""))*+(""")', re.DOTALL),
}
# The length of a name in \N{...} is bounded so that many unclosed ones cannot make the search quadratic.
_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|N\{([^}]{1,100})\}|(.))", re.DOTALL
)
_SIMPLE = {
    "\n": "", "\\": "\\", "'": "'", '"': '"',
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip


def read_string(text: str, place: int) -> tuple[str, int]:
    """The string whose literal begins at `place` (where STRING_START matches), and where the text goes on.

    Raises Fault for an unclosed string, bytes, f-strings, escapes Python refuses and lone surrogates.
    """
    start = STRING_START.match(text, place)
    prefix, quote = start["prefix"].lower(), start["quote"]
    if prefix not in ("", "r", "u"):
        raise Fault(f"a string with the prefix {prefix!r} is not a value")
    rest = _REST[quote].match(text, start.end())
    if rest is None:
        raise Fault(f"a string is not closed, it opens at character {place}")
    content = text[start.end() : rest.start(1)]
    if "\\" in content and prefix != "r":
        content = _ESCAPE.sub(_unescape, content)
        check_encodable(content)
    return content, rest.end()


def _unescape(escape: re.Match[str]) -> str:
    octal, two, four, eight, name, simple = escape.groups()
    if simple is not None:
        if simple in "xuUN":
            raise Fault(f"the escape \\{simple} in a string is cut short")
        return _SIMPLE.get(simple, escape[0])  # Python keeps the backslash of an escape it does not know
    if name is not None:
        try:
            return unicodedata.lookup(name)
        except KeyError:
            raise Fault(f"no character is named {name[:40]!r}") from None
    number = int(octal, 8) if octal else int(two or four or eight, 16)
    if number > 0x10FFFF:
        raise Fault(f"the escape {escape[0]} is beyond Unicode")
    return chr(number)
