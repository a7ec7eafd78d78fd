"""Values made from nothing or of another type, and when two values say the same."""

from __future__ import annotations

import functools
import json
import random
import re
from typing import Any

from toolrm_jax.toolcalls.conversation import Conversation

_DEFAULT = re.compile(r"[Dd]efault(?:s to|s|ed to)?(?: value)?(?: is|:|=)? *['\"`]?([\w.%-]+(?: [\w.%-]+)?)", re.ASCII)
_EXAMPLE = re.compile(r"(?<!\w)['\"`‘“]([^'\"`’”\n]{1,40})['\"`’”](?!\w)")
_PUNCTUATION = re.compile(r"[\W_]+")
USUAL_NUMBERS = (0, 1, 2, 3, 5, 10, 20, 25, 30, 50, 60, 100, 500, 1000)
PLACEHOLDERS = (
    "<{0}>",
    "user_{0}",
    "your_{0}",
    "{0}",
    "[{0}]",
    "unknown",
    "N/A",
    "example",
    "not specified",
    "any",
    "",
)
_USUAL_STRINGS = {
    ("city", "location", "place", "area", "from", "to", "origin", "destination", "address", "where", "region"): (
        "New York, NY", "San Francisco, CA", "London, UK", "Paris, France", "Los Angeles, CA", "Berlin", "Tokyo, Japan",
        "Seattle, WA", "Chicago", "Boston, MA", "Sydney", "Toronto, Canada", "Berkeley, CA", "Delhi", "Rome, Italy",
    ),
    ("name", "user", "person", "author", "artist", "actor", "receiver", "customer", "player", "directed", "cast"): (
        "John Doe", "Alice", "John Smith", "Jane", "Michael", "David", "Taylor Swift", "Tom Hanks", "Emma",
    ),
    ("country", "nation"): ("USA", "United States", "UK", "Canada", "France", "Germany", "India", "Japan"),
    ("language", "lang", "locale"): ("en", "English", "es", "French", "fr", "zh"),
    ("currency",): ("USD", "EUR", "GBP", "JPY"),
    ("unit", "units"): ("metric", "imperial", "celsius", "meters", "km", "kg", "miles", "hours"),
    ("genre", "category", "type", "kind"): ("general", "standard", "Action", "Music", "default", "Pop", "Comedy"),
    ("url", "link", "domain", "website"): ("https://example.com", "www.example.com", "https://api.example.com/v1"),
    ("email", "mail"): ("user@example.com", "john.doe@gmail.com", "info@company.com"),
}  # fmt: skip
"""What models put where they were told nothing, by a word in the parameter's name."""


def same_words(a: Any, b: Any) -> bool:
    """Whether two values differ in punctuation and case at most, so that calling one wrong would be pedantry."""
    if isinstance(a, str) and isinstance(b, str):
        return _PUNCTUATION.sub("", a).casefold() == _PUNCTUATION.sub("", b).casefold()
    return type(a) is type(b) and a == b


def alike(a: Any, b: Any) -> bool:
    """Whether two values differ but could change places: of one type, and of strings both or neither with digits."""
    if type(a) is not type(b) or same_words(a, b):
        return False
    return not isinstance(a, str) or bool(re.search(r"\d", a)) == bool(re.search(r"\d", b))


def listed(schema: dict[str, Any]) -> list[Any]:
    """The values of the schema's enum."""
    found = schema.get("enum")
    return found if isinstance(found, list) else []


def described(schema: dict[str, Any]) -> list[str]:
    """Defaults and quoted examples in a parameter's description, as text."""
    text = schema.get("description")
    found = [*_described_in(text)] if isinstance(text, str) else []
    if isinstance(schema.get("default"), str | int | float):
        found.append(str(schema["default"]))
    return [item.strip() for item in found if item.strip()]


@functools.lru_cache(maxsize=4096)
def _described_in(text: str) -> tuple[str, ...]:
    return (*_DEFAULT.findall(text), *_EXAMPLE.findall(text))


def schema_of(properties: dict[str, Any], key: str) -> dict[str, Any]:
    """The schema of one property, empty where there is none."""
    found = properties.get(key)
    return found if isinstance(found, dict) else {}


@functools.lru_cache(maxsize=4096)
def usual_strings(name: str) -> tuple[str, ...]:
    """What models usually put into a parameter of that name; empty where nothing comes to mind."""
    words = re.split(r"[_\W\d]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return next((usual for keys, usual in _USUAL_STRINGS.items() if any(word in keys for word in words)), ())


def made_value(rng: random.Random, name: str, schema: dict[str, Any], said: Conversation) -> Any:
    """A value that the schema allows and that a model might give without having been told one."""
    if options := listed(schema):
        return rng.choice(options)
    kind = schema.get("type")
    kind = kind if isinstance(kind, str) else "string"
    if kind == "boolean":
        return rng.random() < 0.7
    if kind in ("integer", "number"):
        number = rng.choice(said.numbers if said.numbers and rng.random() < 0.6 else USUAL_NUMBERS[1:])
        return int(number) if kind == "integer" else number
    if kind == "array":
        items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
        return [made_value(rng, name, items, said) for _ in range(rng.choice([1, 1, 2]))]
    if kind == "object":
        properties = schema.get("properties") if isinstance(schema.get("properties"), dict) else {}
        required = schema.get("required") if isinstance(schema.get("required"), list) else list(properties)[:2]
        return {key: made_value(rng, key, schema_of(properties, key), said) for key in required if isinstance(key, str)}
    return _made_string(rng, name, schema, said)


def _made_string(rng: random.Random, name: str, schema: dict[str, Any], said: Conversation) -> str:
    lower = name.lower()
    if "date" in lower or lower.endswith("day"):
        if said.dates and rng.random() < 0.6:
            return rng.choice(said.dates)
        return f"{rng.choice([2023, 2023, 2024, 2024, 2025])}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    if "time" in lower and "zone" not in lower:
        return f"{rng.randint(7, 21):02}:{rng.choice(['00', '00', '30'])}"
    if lower.endswith("id") and said.numbers and rng.random() < 0.5:
        return str(rng.choice(said.numbers))
    shown = described(schema)
    if shown and rng.random() < 0.35:
        return rng.choice(shown)
    if (usual := usual_strings(name)) and rng.random() < 0.3:
        return rng.choice(usual)
    pool = rng.choice([pool for pool in (said.names, said.quoted, said.phrases) if pool] or [()])
    if pool and rng.random() < 0.9:
        return rng.choice(pool)
    return rng.choice(PLACEHOLDERS[:5]).format(lower.strip("_"))


def retyped(rng: random.Random, value: Any) -> Any:
    """The same value as another JSON type, the way models slip."""
    if isinstance(value, bool):
        return rng.choice(["true" if value else "false", str(value), int(value)])
    if isinstance(value, int | float):
        return rng.choice([str(value), str(value), str(value), [value]])
    if isinstance(value, str):
        if re.fullmatch(r"-?\d{1,15}", value):
            return int(value)
        if value.casefold() in ("true", "false"):
            return value.casefold() == "true"
        return rng.choice([[value], [value], {"value": value}, value.split(", ") if ", " in value else [value]])
    if isinstance(value, list):
        makers = [", ".join(map(str, value)), json.dumps(value, ensure_ascii=False)]
        if value:
            makers.append(value[0])
        if value and all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
            makers += [[str(item) for item in value]] * 3
        return rng.choice(makers)
    if isinstance(value, dict):
        inner = next(iter(value.values()), "")
        return rng.choice([json.dumps(value, ensure_ascii=False), str(inner), [value]])
    return "null"
