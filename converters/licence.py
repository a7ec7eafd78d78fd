"""Under which licence a model may be used, as its card (README.md) says between the lines of --- at its top."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---(?:\r?\n|\Z)", re.DOTALL)
OTHER = "other"
"""The hub's identifier for a licence that it has none for: then the name says which it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Licence:
    """The hub's identifier and, of `other`, the licence's own name and where its text is."""

    identifier: str = OTHER
    name: str = ""
    link: str = ""

    def __str__(self) -> str:
        return self.name or self.identifier

    @property
    def is_named(self) -> bool:
        """Whether it says anything: `other` alone does not."""
        return self.identifier != OTHER or bool(self.name)

    def fields(self) -> dict[str, str]:
        """What the top of a card says of it."""
        more = {"license_name": self.name, "license_link": self.link}
        return {"license": self.identifier, **{field: value for field, value in more.items() if value}}


def front_matter(fields: Mapping[str, Any]) -> str:
    """The lines of --- that a card begins with, and the fields between them."""
    # JSON values are YAML values.
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in fields.items()), "---"])


def read_licence(text: str) -> Licence | None:
    """What a card says; None where it names no licence, or has no readable lines of --- at its top."""
    front = _FRONT_MATTER.match(text)
    try:
        fields = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError:
        return None
    given = fields if isinstance(fields, dict) else {}
    identifier, name, link = (given.get(field) for field in ("license", "license_name", "license_link"))
    if isinstance(identifier, list) and len(identifier) == 1:
        identifier = identifier[0]
    if not isinstance(identifier, str) or not identifier.strip():
        return None
    texts = (value.strip() if isinstance(value, str) else "" for value in (name, link))
    return Licence(identifier.strip().lower(), *texts)


def licence_of(folder: Path) -> Licence | None:
    """What the card of a model folder says; None where there is no card, or it names none."""
    card = folder / "README.md"
    return read_licence(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
