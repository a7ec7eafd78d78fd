"""Names that models write instead of the right one: of a tool or of a parameter."""

from __future__ import annotations

import random
import re

from toolrm_jax.toolcalls.conversation import content_words
from toolrm_jax.toolcalls.mistake_strings import misspelt

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LIKE = (
    ("get", "fetch", "retrieve", "find", "lookup"), ("calculate", "compute", "calc", "get"), ("search", "find"),
    ("create", "make", "add", "new"), ("update", "modify", "change", "edit"), ("delete", "remove"), ("list", "get_all"),
    ("book", "reserve", "buy"), ("convert", "transform"), ("play", "start"), ("info", "details", "data", "information"),
    ("user", "customer"), ("name", "title"), ("location", "city", "place", "address"), ("from", "source", "origin"),
    ("to", "destination", "target"), ("date", "day"), ("num", "number", "count"), ("query", "text", "keyword"),
    ("type", "kind", "category"), ("start", "begin"), ("end", "stop"), ("value", "amount"), ("id", "identifier"),
    ("max", "limit"), ("length", "size"), ("check", "verify"), ("send", "post"), ("set", "update"), ("time", "hour"),
)  # fmt: skip


def other_name(rng: random.Random, name: str, text: str) -> str:
    """A plausible name that differs from `name`; `text` is the conversation, for names made of its words."""
    makers = [
        _without_prefix,
        _other_case,
        _synonym,
        _synonym,
        _longer,
        _shorter,
        _generic,
        lambda rng, name: misspelt(rng, name),
    ]
    # Of the names that real models made up on BFCL's live questions, two in three lack a prefix.
    if rng.random() < 0.5 and (made := _without_prefix(rng, name)):
        return made
    if rng.random() < 0.12 and (made := _from_words(rng, text)) and made != name:
        return made
    rng.shuffle(makers)
    for make in makers:
        if (made := make(rng, name)) and made != name:
            return made
    return f"{name}_{rng.choice(['data', 'info', 'new', '2'])}"


def _without_prefix(rng: random.Random, name: str) -> str:
    for mark in (".", "/", "::"):
        if mark in name:
            first, _, rest = name.partition(mark)
            return rng.choice([rest, rest, name.rpartition(mark)[2], first])
    found = re.fullmatch(r"([A-Za-z]+_\d+)_(.+)", name)
    return found[2] if found else ""


def _other_case(rng: random.Random, name: str) -> str:
    parts = _PARTS.findall(name)
    if len(parts) < 2 or "." in name:
        return ""
    snake = "_".join(part.lower() for part in parts)
    camel = parts[0].lower() + "".join(part.capitalize() for part in parts[1:])
    return rng.choice([snake, camel] if snake != name else [camel, camel, camel[:1].upper() + camel[1:]])


def _synonym(rng: random.Random, name: str) -> str:
    """One part of the name replaced by a word that is used alike."""
    fit = []
    for found in _PARTS.finditer(name):
        for words in _LIKE:
            if found[0].lower() in words:
                fit += [(found, word) for word in words if word != found[0].lower()]
    if not fit:
        return ""
    found, word = rng.choice(fit)
    word = (
        word.upper()
        if found[0].isupper() and len(found[0]) > 1
        else word.capitalize()
        if found[0][0].isupper()
        else word
    )
    return name[: found.start()] + word + name[found.end() :]


def _generic(rng: random.Random, name: str) -> str:
    """A name that fits any tool, or the right one as a class would be called."""
    anything = rng.choice(["func", "function", "tool"]) + rng.choice(["", "1", "_1", "2"])
    return rng.choice([anything, name[:1].upper() + name[1:]])


def _longer(rng: random.Random, name: str) -> str:
    if rng.random() < 0.5:
        return name + ("s" if not name.endswith("s") else "_list")
    return f"{rng.choice(['get_', 'find_', 'my_', 'new_'])}{name}" if "." not in name else f"{name}_info"


def _shorter(rng: random.Random, name: str) -> str:
    if "_" in name.strip("_"):
        parts = name.split("_")
        return "_".join(parts[:-1] if rng.random() < 0.6 else parts[1:])
    return name[:-1] if name.endswith("s") and len(name) > 4 else ""


def _from_words(rng: random.Random, text: str) -> str:
    words = content_words(text)
    if len(words) < 2:
        return ""
    i = rng.randrange(len(words) - 1)
    return "_".join(
        [*([rng.choice(["get", "find", "search", "calculate"])] if rng.random() < 0.7 else []), *words[i : i + 2]]
    )
