"""Wrong values of the kind that models give: taken from elsewhere, near the right one, or with a part changed."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from toolrm_jax.toolcalls.conversation import Conversation
from toolrm_jax.toolcalls.made_values import USUAL_NUMBERS, alike, described, listed, made_value, same_words, schema_of
from toolrm_jax.toolcalls.mistake_strings import Maker, first_other, other_string


def wrong_value(
    rng: random.Random, value: Any, name: str, schema: dict[str, Any], said: Conversation, rivals: Sequence[Any] = ()
) -> Any:
    """Another value for parameter `name`, usually of the same type. `rivals` are values that stand beside it.

    It may still be right: the caller compares. Returns the value itself where nothing else comes to mind.
    """
    options = [option for option in listed(schema) if not same_words(option, value)]
    like = [] if options else [rival for rival in rivals if alike(rival, value)]
    if like and rng.random() < 0.2:
        return rng.choice(like)
    if options and rng.random() < 0.85:
        return rng.choice(options)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return _other_number(rng, value, schema, said)
    if isinstance(value, str):
        return other_string(rng, value, name, schema, said)
    if isinstance(value, list):
        return _other_list(rng, value, name, schema, said)
    if isinstance(value, dict):
        return _other_object(rng, value, schema, said)
    return made_value(rng, name, schema, said)


# numbers


def _other_number(rng: random.Random, value: int | float, schema: dict[str, Any], said: Conversation) -> int | float:
    whole = isinstance(value, int) and schema.get("type") != "number"

    def fit(number: float) -> int | float | None:
        number = round(number, 6)
        if number == int(number) and isinstance(value, int):
            return int(number)
        return None if whole else number

    others = [number for number in said.numbers if number != value and abs(number) < 1e12]
    shown = [fit(float(text)) for text in described(schema) if re.fullmatch(r"-?\d+(\.\d+)?", text)]
    step = 1 if isinstance(value, int) else rng.choice([0.1, 0.5, 1.0])
    makers: list[tuple[float, Maker]] = [
        (2.0, lambda: fit(value + rng.choice([step, -step, 2 * step]))),
        (2.0, lambda: fit(value * rng.choice([10, 100, 100, 1000, 0.1, 0.01, 0.01]))),
        (0.6, lambda: fit(-value)),
        (0.8, lambda: fit(rng.choice(USUAL_NUMBERS))),
        (0.8, lambda: fit(round(value, rng.choice([0, 1])))),
        (0.8, lambda: _reordered_digits(rng, value)),
    ]
    if others:
        makers.append((4.0, lambda: fit(rng.choice(others))))
        makers.append((0.6, lambda: fit(rng.choice([value + rng.choice(others), value * rng.choice(others)]))))
    if shown:
        makers.append((1.5, lambda: rng.choice(shown)))
    return first_other(rng, makers, value) if abs(value) < 1e12 else value // 10


def _reordered_digits(rng: random.Random, value: int | float) -> int | float | None:
    digits = list(str(value))
    places = [i for i in range(len(digits) - 1) if digits[i].isdigit() and digits[i + 1].isdigit() and i > 0]
    if not places or "e" in digits:
        return None
    i = rng.choice(places)
    digits[i], digits[i + 1] = digits[i + 1], digits[i]
    return type(value)("".join(digits))


# lists and objects


def _other_list(rng: random.Random, value: list, name: str, schema: dict[str, Any], said: Conversation) -> list:
    items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
    if not value:
        return [made_value(rng, name, items, said)]
    i = rng.randrange(len(value))

    def altered() -> list:
        return [*value[:i], wrong_value(rng, value[i], name, items, said, value), *value[i + 1 :]]

    def added() -> list:
        return [*value, wrong_value(rng, value[-1], name, items, said)]

    makers: list[tuple[float, Maker]] = [(3.0, altered), (1.5, added)]
    if len(value) > 1:
        makers.append((2.0, lambda: [*value[:i], *value[i + 1 :]]))
        makers.append((0.7, lambda: value[:1]))
        makers.append((0.7, lambda: value[::-1] if len(value) == 2 else [*value[1:], value[0]]))
    return first_other(rng, makers, value)


def _other_object(rng: random.Random, value: dict, schema: dict[str, Any], said: Conversation) -> dict:
    properties = schema.get("properties") if isinstance(schema.get("properties"), dict) else {}
    absent = [key for key in properties if key not in value]
    if not value and not absent:
        return value
    if absent and (not value or rng.random() < 0.2):
        key = rng.choice(absent)
        return {**value, key: made_value(rng, key, schema_of(properties, key), said)}
    key = rng.choice(list(value))
    if len(value) > 1 and rng.random() < 0.2:
        return {name: item for name, item in value.items() if name != key}
    rivals = [item for name, item in value.items() if name != key]
    return {**value, key: wrong_value(rng, value[key], key, schema_of(properties, key), said, rivals)}
