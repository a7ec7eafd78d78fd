"""Running what a model card tells its reader to run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "rain",
            "description": "Reads a value.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
ASKED = [{"role": "user", "content": "Give me rain in Ulm for 3 days."}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "It rains."}]


def run_snippet(folder: Path, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The names that the card's only Python snippet leaves, FOLDER, `messages` and `tools` filled in."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"FOLDER": str(folder), "messages": messages, "tools": TOOLS}
    exec(compile(code, str(folder / "README.md"), "exec"), names)  # our own text, not a model's
    return names
