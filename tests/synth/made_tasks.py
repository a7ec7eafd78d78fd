"""Small questions in the form of xlam-function-calling-60k, which `toolrm synth` reads as a source."""

from __future__ import annotations

import json
from pathlib import Path


def write_tasks(path: Path, count: int) -> Path:
    """So many questions with one tool each; the right call is `read.clock(hours=N)`."""
    rows = []
    for number in range(count):
        tool = {
            "name": "read.clock",
            "description": "Reads.",
            "parameters": {"hours": {"type": "int", "description": "n"}},
        }
        answer = {"name": "read.clock", "arguments": {"hours": number}}
        query = f"clock {number}"
        rows.append({"id": number, "query": query, "tools": json.dumps([tool]), "answers": json.dumps([answer])})
    path.write_text(json.dumps(rows))
    return path
