"""What the user said, cut into the spans that a wrong value is likely to be taken from."""

from __future__ import annotations

import dataclasses
import re

from toolrm_jax.toolcalls.types import Context

MAX_CHARS = 4000  # of the user's words; the end is kept, as the latest request decides

_NUMBER = re.compile(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<![\w.])\d+(?:\.\d+)?")
_QUOTED = re.compile(r"[\"“]([^\"“”\n]{1,60})[\"”]|(?<!\w)['‘]([^'\n]{1,60})['’](?!\w)")
_NAME = re.compile(r"(?<![\w'])[A-Z][\w&'’-]*(?:(?:,)? (?:of |the |de |and )?[A-Z][\w&'’-]*)*")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/.]\d{1,2}[/.]\d{4}")
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

    @property
    def spans(self) -> tuple[str, ...]:
        """Everything but the numbers."""
        return tuple(dict.fromkeys((*self.quoted, *self.names, *self.phrases, *self.dates)))


def read_conversation(context: Context) -> Conversation:
    """The spans of all user messages."""
    text = "\n".join(message.content for message in context.messages if message.role == "user")[-MAX_CHARS:]
    names = [name for found in _NAME.findall(text) if (name := _bare_name(found))]
    quoted = [(double or single).strip() for double, single in _QUOTED.findall(text)]
    return Conversation(
        text,
        tuple(dict.fromkeys(_numbers(text))),
        tuple(dict.fromkeys(names)),
        tuple(dict.fromkeys(span for span in quoted if span)),
        tuple(dict.fromkeys(_phrases(text))),
        tuple(dict.fromkeys(_DATE.findall(text))),
    )


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


def _numbers(text: str) -> list[int | float]:
    found: list[int | float] = []
    for digits in _NUMBER.findall(text):
        digits = digits.replace(",", "")
        if len(digits) <= 15:
            found.append(float(digits) if "." in digits else int(digits))
    return found + [
        _WORDS_FOR_NUMBERS[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _WORDS_FOR_NUMBERS
    ]


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
