"""The fixed conversations that engines are compared on: what formats, tokenizers and batches go wrong over."""

from __future__ import annotations

import dataclasses

from toolrm_jax.toolcalls.types import Call, Candidate, Context, Message, Tool

LONG_TOKENS = 3000
"""About how many tokens the long conversation has, where the model reads so many."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A conversation with candidate answers."""

    name: str
    context: Context
    candidates: tuple[Candidate, ...]


def _tool(name: str, about: str, required: tuple[str, ...] = (), **properties: object) -> Tool:
    return Tool(name, about, {"type": "object", "properties": properties, "required": list(required)})


_CITY = {"type": "string", "description": "Name of the city"}
WEATHER = _tool("get_weather", "Weather of a city", ("city",), city=_CITY, days={"type": "integer"})
TIME = _tool("get_time", "Local time of a city", ("city",), city=_CITY)
BOOK = _tool(
    "book_trip",
    "Books a trip",
    ("legs",),
    legs={
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"from": _CITY, "to": _CITY, "seats": {"type": "array", "items": {"type": "string"}}},
        },
    },
    options={"type": "object", "properties": {"flexible": {"type": "boolean"}, "limit": {"type": "number"}}},
)


def _calls(*calls: tuple[str, dict[str, object]]) -> Candidate:
    return Candidate(tuple(Call(name, arguments) for name, arguments in calls))


def suite(words: int) -> tuple[Case, ...]:
    """The cases; the long one's message has `words` numbered words."""
    leg = {"from": "Ulm", "to": "Bonn", "seats": ["12A", "12B"]}
    return (
        Case(
            "several tools",
            Context((WEATHER, TIME, BOOK), (Message("user", "What is the weather in Ulm for 3 days?"),)),
            (
                _calls(("get_weather", {"city": "Ulm", "days": 3})),
                _calls(("get_weather", {"city": "Ulm", "days": 4})),
                _calls(("get_time", {"city": "Ulm"})),
                _calls(("get_weather", {"city": "Ulm", "days": 3}), ("get_time", {"city": "Ulm"})),
            ),
        ),
        Case(
            "unicode",
            Context(
                (WEATHER, TIME),
                (Message("system", "Antworte kurz. 🙂"), Message("user", "Wie spät ist es in 東京? — ‏שלום")),
            ),
            (
                _calls(("get_time", {"city": "東京"})),
                _calls(("get_time", {"city": "Kyōto"})),
                Candidate(text="Ich weiß es nicht. 🤷🏽‍♀️"),
            ),
        ),
        Case(
            "nested arguments",
            Context((BOOK,), (Message("user", "Ulm to Bonn, seats 12A and 12B, flexible, at most 99.5."),)),
            (
                _calls(("book_trip", {"legs": [leg], "options": {"flexible": True, "limit": 99.5}})),
                _calls(("book_trip", {"legs": [leg, {}], "options": {"flexible": None, "limit": 1e-7}})),
            ),
        ),
        Case(
            "empty answers",
            Context((TIME,), (Message("user", "Say nothing."),)),
            (Candidate(text=""), Candidate(text="."), _calls(("get_time", {}))),
        ),
        Case(
            "several turns",
            Context(
                (TIME,),
                (
                    Message("user", "Time in Ulm?"),
                    Message("assistant", calls=(Call("get_time", {"city": "Ulm"}),)),
                    Message("tool", '{"time": "10:30"}', name="get_time"),
                    Message("user", "And in Bonn?"),
                ),
            ),
            (_calls(("get_time", {"city": "Bonn"})), _calls(("get_time", {"city": "Ulm"})), Candidate(text="10:30")),
        ),
        Case(
            "thousands of tokens",
            Context((WEATHER, TIME), (Message("user", " ".join(f"word{i}" for i in range(words)) + " Time in Kiel?"),)),
            (_calls(("get_time", {"city": "Kiel"})), _calls(("get_weather", {"city": "Kiel"}))),
        ),
    )


_CITIES = ("Ulm", "東京", "Köln", "São Paulo", "Kyōto", "Bonn", "Łódź", "New York", "Kiel", "Αθήνα")


def prompts() -> tuple[Context, ...]:
    """Fifty conversations to be continued, ten of each of five forms."""
    return tuple(context for city in _CITIES for context in _asked(city))


def _asked(city: str) -> tuple[Context, ...]:
    said = Message("assistant", calls=(Call("get_time", {"city": city}),))
    return (
        Context((WEATHER, TIME, BOOK), (Message("user", f"What is the weather in {city} for 3 days?"),)),
        Context((TIME,), (Message("system", "Answer briefly."), Message("user", f"{city}: what time is it there?"))),
        Context((BOOK,), (Message("user", f"Book two seats, 12A and 12B, from {city} to Jena."),)),
        Context((), (Message("user", f"Where is {city}, and what is it known for?"),)),
        Context(
            (WEATHER, TIME),
            (
                Message("user", f"Time in {city}?"),
                said,
                Message("tool", '{"time": "10:30"}', name="get_time"),
                Message("user", "And the weather tomorrow?"),
            ),
        ),
    )
