"""Where a text speaks of a tool or parameter by its name, and not just with the same word.

A name that reads as an identifier (`get_weather`, `findHotels`, `hotels.find`, `Hotels_4`) speaks for itself wherever
it stands alone. An ordinary word (`city`) does so only where names stand: before `(` or `=`, as a quoted key, as the
value of "name", in backticks, or beside words such as "parameter". "a city by the sea" stays as it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

_IDENTIFIER = re.compile(r"\w[\w./:-]*", re.ASCII)
_MARKED = re.compile(r"[_.\d]|[a-z][A-Z]")
_WORDS = re.compile(r"\w+")
_KIND = r"(?:parameter|argument|function|tool|field|API)"
_BEFORE = re.compile(rf"[\"']name[\"']\s*:\s*[\"']\Z|\b{_KIND} [\"'`]?\Z|`\Z")
_AFTER = re.compile(rf"[\"'`]? {_KIND}s?\b")
_ASSIGNED = re.compile(r"\s?=\s?[^=\s]")
_KEY_END = re.compile(r"[\"']\s*:")
_SEEN = 24  # characters before a name that decide


@functools.lru_cache(maxsize=65536)
def is_identifier(name: str) -> bool:
    """Whether a name could not be an ordinary word: it has an underscore, dot or digit, or a hump inside."""
    return len(name) > 2 and bool(_IDENTIFIER.fullmatch(name)) and bool(_MARKED.search(name))


def replace_mentions(
    text: str, names: frozenset[str], only_as_names: frozenset[str], rename: Callable[[str], str], left: set[str]
) -> str:
    """The text with each mention of one of `names` replaced by `rename(name)`.

    Those in `only_as_names` are taken for ordinary words, whatever they look like. Names that stand in the text and
    are no mention are added to `left`.
    """
    mentions, ordinary = _mentions(text, names, only_as_names)
    left |= ordinary
    if not mentions:
        return text
    parts, at = [], 0
    for start, end in mentions:
        parts += text[at:start], rename(text[start:end])
        at = end
    return "".join([*parts, text[at:]])


@functools.lru_cache(maxsize=4096)  # the turns of a dialogue have their messages and tools in common
def _mentions(
    text: str, names: frozenset[str], only_as_names: frozenset[str]
) -> tuple[tuple[tuple[int, int], ...], frozenset[str]]:
    """Where names are mentioned, and those of them that stand in the text as ordinary words."""
    pattern, words = _pattern(names)
    if pattern is None or (words is not None and words.isdisjoint(_WORDS.findall(text))):
        return (), frozenset()
    mentions, ordinary = [], set()
    for found in pattern.finditer(text):
        name = found[0]
        if (is_identifier(name) and name not in only_as_names) or _stands_as_name(text, *found.span()):
            mentions.append(found.span())
        else:
            ordinary.add(name)
    return tuple(mentions), frozenset(ordinary)


def _stands_as_name(text: str, start: int, end: int) -> bool:
    before, last, next = text[max(0, start - _SEEN) : start], text[start - 1 : start], text[end : end + 1]
    if last != "." and (next == "(" or _ASSIGNED.match(text, end)):
        return True
    if last in ("'", '"') and _KEY_END.match(text, end):
        return True
    return bool(_BEFORE.search(before)) or (last != "." and bool(_AFTER.match(text, end)))


@functools.lru_cache(maxsize=1024)
def _pattern(names: frozenset[str]) -> tuple[re.Pattern[str] | None, frozenset[str] | None]:
    """One pattern for all names, and the words one of which a text with a name must have (None: it may have none).

    Cached: the tasks of a data set share their tools.
    """
    some = sorted((name for name in names if name), key=lambda name: (-len(name), name))
    if not some:
        return None, None
    first = [_WORDS.search(name) for name in some]
    words = None if None in first else frozenset(found[0] for found in first)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, some))})(?!\w)"), words
