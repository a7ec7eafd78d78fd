"""Scores of a sequence classifier by transformers and torch, in a process and, if asked, an environment of their own.

The file is also that process's program, so it imports nothing of this package: any Python with torch and transformers
(4.55 or later) runs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BATCHES = (("one by one", 1, "right"), ("16, padded right", 16, "right"), ("16, padded left", 16, "left"))
"""Name, rows of a batch, and the side that shorter rows are padded on."""


def transformers_scores(
    folder: Path, rows: Sequence[Sequence[int]], dtypes: Sequence[str], python: str = ""
) -> tuple[str, dict[tuple[str, str], list[float]]]:
    """The version that `python` (default: this one) has, and the score of each row by dtype and batch name.

    Raises as `ask_program` does.
    """
    from toolrm_jax.converters.other_python import ask_program

    asked = {"rows": [list(map(int, row)) for row in rows], "dtypes": list(dtypes)}
    found = ask_program(__file__, folder, asked, python)
    return found["version"], {(dtype, batch): scores for dtype, batch, scores in found["scores"]}


def _program(asked: str, given: str) -> None:
    import torch
    import transformers
    from transformers import AutoModelForSequenceClassification

    job = json.loads(Path(asked).read_text())
    scores = []
    for dtype in job["dtypes"]:
        # transformers 4.55 knows `dtype` by its older name alone; 5 by both.
        model, info = AutoModelForSequenceClassification.from_pretrained(
            job["folder"], torch_dtype=getattr(torch, dtype), output_loading_info=True
        )
        if faults := {name: sorted(map(str, found)) for name, found in info.items() if found}:
            raise SystemExit(f"transformers {transformers.__version__} reports {json.dumps(faults)[:300]}")
        pad = model.config.pad_token_id
        for name, size, side in BATCHES:
            scores.append((dtype, name, _scores(model.eval(), job["rows"], pad, size, side)))
    Path(given).write_text(json.dumps({"version": transformers.__version__, "scores": scores}))


def _scores(model: Any, rows: list[list[int]], pad: int, size: int, side: str) -> list[float]:
    import torch

    found: list[float] = []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        longest = max(map(len, batch))
        filled = [[pad] * (longest - len(row)) for row in batch]
        real = [[1] * len(row) for row in batch]
        none = [[0] * len(fill) for fill in filled]
        left = side == "left"
        ids = [fill + row if left else row + fill for row, fill in zip(batch, filled)]
        mask = [off + on if left else on + off for on, off in zip(real, none)]
        seen = torch.tensor(mask)
        # Without these the left-padded rows stand at later positions, where rotary angles round more.
        positions = (seen.cumsum(dim=1) - 1).clamp(min=0)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(ids), attention_mask=seen, position_ids=positions).logits
        found += logits[:, 0].float().tolist()
    return found


if __name__ == "__main__":
    _program(*sys.argv[1:])
