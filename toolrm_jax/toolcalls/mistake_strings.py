"""Wrong strings: another span of the conversation, a longer or shorter one, another day, time or number inside."""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from toolrm_jax.toolcalls.conversation import Conversation
from toolrm_jax.toolcalls.made_values import PLACEHOLDERS, alike, described, same_words, usual_strings

_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_OTHER_DAY = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})")
_TIME = re.compile(r"\b(\d{1,2}):(\d{2})")

Maker = Callable[[], Any]


def first_other(rng: random.Random, makers: Sequence[tuple[float, Maker]], value: Any) -> Any:
    """The first value unlike `value` that a maker gives; makers are tried in an order drawn by weight."""
    order = sorted(makers, key=lambda item: rng.random() ** (1 / item[0]), reverse=True)
    for _, make in order:
        made = make()
        if made is not None and not same_words(made, value):
            return made
    return value


def other_string(rng: random.Random, value: str, name: str, schema: dict[str, Any], said: Conversation) -> str:
    """Another string for parameter `name`; `value` itself where nothing else comes to mind."""
    words = value.split()
    makers: list[tuple[float, Maker]] = [
        (2.5, lambda: _span_instead(rng, value, name, said)),
        (2.5, lambda: _longer(rng, value, said)),
        (0.6, lambda: rng.choice(PLACEHOLDERS).format(name.strip("_").lower())),
        (0.5, lambda: misspelt(rng, value)),
    ]
    if len(words) > 1:
        makers.append((3.5, lambda: _shorter(rng, words)))
        makers.append((2.5, lambda: _other_word(rng, words, said)))
    if _DAY.search(value) or _OTHER_DAY.search(value):
        makers.append((14.0, lambda: _other_day(rng, value)))
    elif _TIME.search(value):
        makers.append((8.0, lambda: _other_time(rng, value)))
    elif re.search(r"\d", value):
        makers.append((4.0, lambda: _other_digits(rng, value, said)))
    shown = [text for text in described(schema) if text.casefold() not in value.casefold()]
    if shown:
        makers.append((1.0, lambda: rng.choice(shown)))
    if re.search(r"[+*^=<>&|]", value):
        makers.append((2.0, lambda: _other_sign(rng, value)))
    return first_other(rng, makers, value)


def _span_instead(rng: random.Random, value: str, name: str, said: Conversation) -> str | None:
    """Another span of the conversation: alike in being a name or not, neither part of the other."""
    folded = value.casefold()
    fit = [span for span in said.spans if span.casefold() not in folded and folded not in span.casefold()]
    if name_like := value[:1].isupper():
        fit = [span for span in fit if span in said.names or span in said.quoted]
    near = [span for span in fit if abs(len(span) - len(value)) <= 12 and alike(span, value)]
    if near:
        return rng.choice(near)
    pool = usual_strings(name) if name_like else fit
    others = [other for other in pool if alike(other, value)]
    return rng.choice(others) if others else None


def _shorter(rng: random.Random, words: list[str]) -> str | None:
    if len(words) == 2 and words[0].endswith(","):  # a city without its state is no mistake to learn from
        return None
    cut = rng.randint(1, max(1, len(words) // 2))
    if rng.random() < 0.3 and len(words) > 2:
        i = rng.randrange(1, len(words) - 1)
        return " ".join(words[:i] + words[i + 1 :])
    kept = words[:-cut] if rng.random() < 0.6 else words[cut:]
    return " ".join(kept).strip(" ,.;:")


def _other_word(rng: random.Random, words: list[str], said: Conversation) -> str:
    """One word cut short, or replaced by one that the user said."""
    i = rng.randrange(len(words))
    said_words = [word for phrase in said.phrases for word in phrase.split() if word not in words]
    like = [word for word in said_words if word[:1].isupper() == words[i][:1].isupper()]
    if like and rng.random() < 0.6:
        new = rng.choice(like)
    elif len(bare := words[i].strip(",.;:")) > 4:
        new = rng.choice([bare[: rng.randint(2, len(bare) - 2)], misspelt(rng, bare)])
    else:
        new = words[i][:1]
    end = "," if words[i].endswith(",") else ""
    return " ".join([*words[:i], new + end, *words[i + 1 :]])


def _longer(rng: random.Random, value: str, said: Conversation) -> str | None:
    """With the words around it in the conversation, or with another phrase of it."""
    at = said.text.casefold().find(value.casefold())
    if at >= 0 and len(value) > 2:
        before, after = said.text[:at].split(), said.text[at + len(value) :].split()
        left, right = rng.choice([(0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (2, 2)])
        around = " ".join([*before[len(before) - left :], value, *after[:right]])
        if len(around) > len(value):
            return around.strip(" ,.;:?!\"'")
    extra = [phrase for phrase in said.phrases if phrase.casefold() not in value.casefold()]
    if not extra:
        return None
    return f"{value}{rng.choice([' ', ', ', ' and ', ' for ', ' - '])}{rng.choice(extra)}"


def _other_day(rng: random.Random, value: str) -> str | None:
    if found := _DAY.search(value):
        year, month, day = (int(part) for part in found.groups())
    elif found := _OTHER_DAY.search(value):
        month, day, year = int(found[1]), int(found[3]), int(found[4])
        if month > 12:
            month, day = day, month
    else:
        return None
    try:
        date = datetime.date(year, month, day)
    except ValueError:
        return None
    how = rng.random()
    if how < 0.4:
        made = f"{year + rng.choice([-1, 1, 1, 2, 2])}-{month:02}-{day:02}"
    elif how < 0.8:
        days = rng.choice([-7, -2, -1, 1, 1, 2, 3, 7, 30])
        made = (date + datetime.timedelta(days=days)).isoformat() if 1 < year < 9990 else None
    elif day <= 12 and how < 0.88:
        made = f"{year}-{day:02}-{month:02}"
    else:
        made = rng.choice([date.strftime("%B %d"), date.strftime("%d %b"), date.strftime("%A"), f"{year}-{month:02}"])
    if made is None:
        return None
    if found.re is _OTHER_DAY and re.fullmatch(r"\d{4}-\d\d-\d\d", made):  # keep the form that was asked for
        y, m, d = made.split("-")
        first, second = (m, d) if int(found[1]) <= 12 else (d, m)
        made = f"{first}{found[2]}{second}{found[2]}{y}"
    return value[: found.start()] + made + value[found.end() :]


def _other_time(rng: random.Random, value: str) -> str | None:
    if not (found := _TIME.search(value)):
        return None
    hour, minute = int(found[1]), int(found[2])
    shift = rng.choice([12, 12, 1, -1, 2])
    if rng.random() < 0.25:
        minute = (minute + rng.choice([15, 30])) % 60
        shift = 0
    return f"{value[: found.start()]}{(hour + shift) % 24:02}:{minute:02}{value[found.end() :]}"


def _other_digits(rng: random.Random, value: str, said: Conversation) -> str:
    """One number inside the string changed, or the unit dropped or swapped for a number of the conversation."""
    places = list(re.finditer(r"\d+(?:\.\d+)?", value))
    found = rng.choice(places)
    digits = found[0]
    how = rng.random()
    if how < 0.25 and said.numbers:
        made = str(rng.choice(said.numbers))
    elif how < 0.5 and "." not in digits and len(digits) < 15:
        made = str(max(0, int(digits) + rng.choice([-1, 1, 10]))).zfill(len(digits))
    elif how < 0.65 and digits != value:
        return digits
    elif how < 0.8 and len(digits) > 2:
        i = rng.randrange(len(digits))
        made = digits[:i] + digits[i + 1 :]
    else:
        i = rng.randrange(len(digits))
        made = digits[:i] + rng.choice("0123456789") + digits[i:]
    return value[: found.start()] + made + value[found.end() :]


def _other_sign(rng: random.Random, value: str) -> str:
    swaps = (
        ("+", "-"),
        ("-", "+"),
        ("*", "/"),
        ("<", ">"),
        (">", "<"),
        (">=", ">"),
        ("&&", "||"),
        ("**2", "**3"),
        ("^2", "^3"),
    )
    fit = [pair for pair in swaps if pair[0] in value]
    old, new = rng.choice(fit) if fit else ("", "")
    return value.replace(old, new, 1) if old else value


def misspelt(rng: random.Random, text: str) -> str:
    """A letter dropped, doubled or swapped with the next, or a few letters written twice."""
    places = [
        i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha() and text[i] != text[i + 1]
    ]
    if not places:
        return text
    i = rng.choice(places)
    dropped, doubled = text[:i] + text[i + 1 :], text[: i + 1] + text[i:]
    swapped, stuttered = text[:i] + text[i + 1] + text[i] + text[i + 2 :], text[: i + 3] + text[i:]
    return rng.choice([dropped, doubled, swapped, stuttered])
