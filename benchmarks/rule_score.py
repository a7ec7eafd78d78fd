"""Rule scores a second on one core, over real answers of models where they are unpacked, else over made ones.

python benchmarks/rule_score.py [--seconds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from toolrm_jax.toolcalls.score import rule_score
from toolrm_jax.toolcalls.types import Call

TARGET = 20_000


def real_answers(folder: Path) -> list[tuple[tuple[Call, ...], tuple[Call, ...]]]:
    """(candidate, reference) for every parsed answer in the pool of BFCL outputs."""
    pairs = []
    with (folder / "single_turn_pool.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            reference = _calls(row["reference"])
            answers = [answer["call"] for answer in (*row["right"], *row["wrong"]) if answer["call"] is not None]
            pairs += [(_calls(answer), reference) for answer in answers]
    return pairs


def _calls(decoded: list[dict]) -> tuple[Call, ...]:
    return tuple(Call(name, arguments) for item in decoded for name, arguments in item.items())


def made_answers() -> list[tuple[tuple[Call, ...], tuple[Call, ...]]]:
    """Two calls of four arguments each, one argument of each wrong."""
    pairs = []
    for i in range(1000):
        right = tuple(Call(f"f{k}", {"city": f"City {i}", "days": i, "tags": ["a", "b"], "on": True}) for k in range(2))
        wrong = tuple(Call(call.name, {**call.arguments, "days": i + 1}) for call in right)
        pairs.append((wrong, right))
    return pairs


def main() -> None:
    """Print the rate, and what it was measured on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds = parser.parse_args().seconds
    folder = Path(os.environ.get("TOOLRM_DATA", "~/.cache/toolrm-data")).expanduser() / "bfcl_outputs"
    real = (folder / "single_turn_pool.jsonl").is_file()
    pairs = real_answers(folder) if real else made_answers()
    done, total, start = 0, 0.0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        for candidate, reference in pairs:
            total += rule_score(candidate, reference).score
        done += len(pairs)
    calls = sum(len(candidate) for candidate, _ in pairs) / len(pairs)
    kind = "answers of models to BFCL" if real else "made answers"
    print(f"{len(pairs)} {kind}, {calls:.2f} calls each, mean score {total / done:.3f}")
    print(f"{done / spent:,.0f} candidates/s on one core (target {TARGET:,}: {done / spent / TARGET:.1f}x)")


if __name__ == "__main__":
    main()
