"""The tools of Taskmaster-3 (film tickets; its ontology/apis.json) and -4 (coffee orders; from its dialogues).

TM-4 publishes no definitions: names, parameters, types and which are required are those of its 15,395 annotated calls.
"""

from __future__ import annotations

from typing import Any

from toolrm_jax.toolcalls.types import Tool

_TEXT = {"type": "string"}
_CHOICES = {"type": "array", "items": {"type": "object"}}


def _tool(name: str, about: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> Tool:
    properties = {**required, **(optional or {})}
    return Tool(name, about, {"type": "object", "properties": properties, "required": list(required)})


def _texts(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, _TEXT)


TM4 = (
    _tool("get_menu_items", "Find drinks on the menu.", _texts("query"), {"fields": {"type": "array"}}),
    _tool("show_menu", "Show the customer the menu.", {}),
    _tool(
        "get_addons",
        "Find options and extras, for one menu item or in a scope.",
        _texts("query"),
        _texts("menu_item_id", "scope"),
    ),
    _tool(
        "add_order_item",
        "Put a menu item on the order, a new order if none is named.",
        _texts("menu_item_id", "quantity"),
        {**_texts("order_id", "notes"), "attributes": _CHOICES, "addons": _CHOICES},
    ),
    _tool(
        "update_order_item",
        "Change an item of the order.",
        _texts("order_item_id"),
        {**_texts("quantity", "notes"), "attributes": _CHOICES, "addons": _CHOICES},
    ),
    _tool("remove_order_item", "Take an item off the order.", _texts("order_item_id")),
    _tool("get_order_details", "What is on the order.", _texts("order_id")),
    _tool(
        "update_order",
        "Change the order as a whole: the name it is for, to stay or to go.",
        {**_texts("order_id"), "attributes": _CHOICES},
    ),
    _tool("finish_order", "Send the order off to be made.", _texts("order_id")),
    _tool("cancel_order", "Give the order up.", _texts("order_id")),
)

TM3 = (
    _tool(
        "book_tickets",
        "Book tickets for a showing.",
        _texts("name.movie", "name.theater", "time.showing"),
        _texts("date.showing", "num.tickets", "seating"),
    ),
    _tool(
        "check_tickets",
        "Whether there are tickets for a showing.",
        _texts("name.movie", "name.theater", "time.showing"),
        _texts("date.showing", "num.tickets", "seating", "time.preference"),
    ),
    _tool(
        "find_movies",
        "Films by place, people, kind or review.",
        {},
        _texts(
            "location",
            "name.theater",
            "name.genre",
            "type.screening",
            "date.release",
            "description.other",
            "name.person",
            "name.character",
            "review.audience",
            "review.critic",
            "rating.movie",
        ),
    ),
    _tool("find_theaters", "Theaters by place and film.", {}, _texts("location", "type.screening", "name.movie")),
    _tool(
        "find_showtimes",
        "When a theater shows a film.",
        _texts("name.movie", "name.theater"),
        _texts("date.showing", "type.screening", "time.preference", "location"),
    ),
    _tool(
        "get_movie_attribute",
        "One thing about a film.",
        _texts("name.movie", "attribute"),
        _texts(
            "name.genre",
            "name.person",
            "name.character",
            "date.release",
            "description.plot",
            "duration.movie",
            "review.audience",
            "review.critic",
            "rating.movie",
        ),
    ),
    _tool("resolve_movie", "The full name of a film.", _texts("name.movie")),
    _tool("resolve_location", "The full name of a place.", _texts("location")),
    _tool("resolve_theater", "The full name of a theater.", _texts("name.theater", "location")),
)
