"""What the user said, cut into the spans that a wrong value is likely to be taken from."""

from __future__ import annotations

import dataclasses
import functools
import re
from itertools import chain

from toolrm_jax.toolcalls.types import Context

MAX_CHARS = 4000  # of the user's words; the end is kept, as the latest request decides

_NUMBER = re.compile(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<![\w.])\d+(?:\.\d+)?")
_QUOTED = re.compile(r"[\"“]([^\"“”\n]{1,60})[\"”]|(?<!\w)['‘]([^'\n]{1,60})['’](?!\w)")
_NAME = re.compile(r"(?<![\w'])[A-Z][\w&'’-]*(?:(?:,)? (?:of |the |de |and )?[A-Z][\w&'’-]*)*")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/.]\d{1,2}[/.]\d{4}")
_LETTERS = re.compile(r"[a-z]+")
_BREAK = re.compile(r"[^\w\s'’&%$€£#@+-]+|\n+")
_WORDS_FOR_NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "twelve": 12,
}  # fmt: skip
_STOP_WORDS = (
    "a about after again all also am an and any are as at be been before being but by can could did do does doing for "
    "from get give had has have having help hey hi hello how i if in into is it its it's i'd i'll i'm i've just know "
    "let like looking me my need no not now of on or our out please she he should show so some such tell than thank "
    "thanks that the their them then there these they this those to too up us use using want wants was we were what "
    "when where which while who why will with would you your find make what's"
)
_STOP = frozenset(_STOP_WORDS.split())
_CALENDAR_WORDS = (
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august "
    "september october november december each first then next today tomorrow"
)
_CALENDAR = frozenset(_CALENDAR_WORDS.split())


@dataclasses.dataclass(frozen=True, slots=True)
class Conversation:
    """The user's words and the spans found in them, each list without repeats and in order of appearance."""

    text: str
    numbers: tuple[int | float, ...]
    names: tuple[str, ...]
    quoted: tuple[str, ...]
    phrases: tuple[str, ...]
    dates: tuple[str, ...]
    spans: tuple[str, ...]  # everything but the numbers


def read_conversation(context: Context) -> Conversation:
    """The spans of all user messages."""
    return _read("\n".join([message.content for message in context.messages if message.role == "user"])[-MAX_CHARS:])


@functools.lru_cache(maxsize=64)  # one task asks several times
def _read(text: str) -> Conversation:
    # No span goes over the end of a line, so lines are read one by one: most were read for an earlier turn.
    lines = [_read_line(line) for line in text.split("\n")]
    digits, words, names, quoted, phrases, dates = (tuple(dict.fromkeys(chain(*kind))) for kind in zip(*lines))
    numbers = tuple(dict.fromkeys((*digits, *words)))
    spans = tuple(dict.fromkeys((*quoted, *names, *phrases, *dates)))
    return Conversation(text, numbers, names, quoted, phrases, dates, spans)


@functools.lru_cache(maxsize=1024)
def _read_line(line: str) -> tuple[list, ...]:
    """Numbers in digits, numbers in words, names, quoted spans, phrases and dates."""
    names = [name for found in _NAME.findall(line) if (name := _bare_name(found))]
    quoted = [span for double, single in _QUOTED.findall(line) if (span := (double or single).strip())]
    return _digits(line), _number_words(line), names, quoted, _phrases(line), _DATE.findall(line)


def content_words(text: str) -> list[str]:
    """Lower-case words that carry meaning, in order."""
    return [word for word in re.findall(r"[a-z]{3,}", text.lower()) if word not in _STOP]


def _bare_name(found: str) -> str:
    """A capitalised run without the words that only begin a sentence; empty for days and months."""
    words = found.split()
    while words and words[0].casefold().replace("’", "'") in _STOP:
        words = words[1:]
    name = " ".join(words)
    return "" if name.casefold() in _CALENDAR or len(name) < 2 else name


def _digits(text: str) -> list[int | float]:
    found: list[int | float] = []
    for digits in _NUMBER.findall(text):
        digits = digits.replace(",", "")
        if len(digits) <= 15:
            found.append(float(digits) if "." in digits else int(digits))
    return found


def _number_words(text: str) -> list[int | float]:
    return [_WORDS_FOR_NUMBERS[word] for word in _LETTERS.findall(text.lower()) if word in _WORDS_FOR_NUMBERS]


def _phrases(text: str) -> list[str]:
    """Runs of up to four words between punctuation and words without content."""
    found = []
    for piece in _BREAK.split(text):
        run: list[str] = []
        for word in [*piece.split(), ""]:
            if word and word.casefold().replace("’", "'") not in _STOP and len(run) < 4:
                run.append(word)
                continue
            if run and len(phrase := " ".join(run).strip(" '’-+")) > 2 and len(phrase) <= 60:
                found.append(phrase)
            run = [word] if word and word.casefold() not in _STOP else []
    return found
