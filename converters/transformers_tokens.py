"""Tokens that a causal LM continues prompts with, greedily, by transformers and torch.

The file is also the program of a process of its own, so it imports nothing of this package: any Python with torch
and transformers (4.55 or later) runs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def transformers_tokens(
    folder: Path, prompts: Sequence[Sequence[int]], count: int, dtypes: Sequence[str], python: str = ""
) -> tuple[str, dict[str, list[list[int]]]]:
    """The version that `python` (default: this one) has, and per dtype `count` tokens after each prompt.

    Tokens that end a turn are tokens like others. Raises as `ask_program` does.
    """
    from toolrm_jax.converters.other_python import ask_program

    asked = {"prompts": [list(map(int, prompt)) for prompt in prompts], "count": count, "dtypes": list(dtypes)}
    found = ask_program(__file__, folder, asked, python)
    return found["version"], found["tokens"]


def _program(asked: str, given: str) -> None:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    job = json.loads(Path(asked).read_text())
    tokens = {}
    for dtype in job["dtypes"]:
        # transformers 4.55 knows `dtype` by its older name alone; 5 by both.
        model, info = AutoModelForCausalLM.from_pretrained(
            job["folder"], torch_dtype=getattr(torch, dtype), output_loading_info=True
        )
        if faults := {name: sorted(map(str, found)) for name, found in info.items() if found}:
            raise SystemExit(f"transformers {transformers.__version__} reports {json.dumps(faults)[:300]}")
        tokens[dtype] = [_greedy(model.eval(), prompt, job["count"]) for prompt in job["prompts"]]
    Path(given).write_text(json.dumps({"version": transformers.__version__, "tokens": tokens}))


def _greedy(model: Any, prompt: list[int], count: int) -> list[int]:
    import torch

    found: list[int] = []
    given, cache = torch.tensor([prompt]), None
    with torch.no_grad():
        for _ in range(count):
            out = model(input_ids=given, past_key_values=cache, use_cache=True)
            given, cache = out.logits[:, -1:].argmax(dim=-1), out.past_key_values
            found.append(int(given))
    return found


if __name__ == "__main__":
    _program(*sys.argv[1:])
