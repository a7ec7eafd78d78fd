"""The share of real answers that become calls (or, where none may be right, a reply), per model of BFCL's archives.

    python benchmarks/parsed_share.py [FOLDER]

FOLDER holds BFCL result files in any published layout (default: `bfcl_outputs/raw` below TOOLRM_DATA); bfcl-eval is
needed for the questions. Every line goes through the reader of recorded answers (`bfcl_answers.decode`: the notation is
known by how a text begins), and each text besides through every notation of `toolcalls.formats`, none of which may
raise: the last column names the one that finds most calls in the model's texts, and their share.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from pathlib import Path

from real_groups import folder

from toolrm_jax.sources.bfcl_answers import read_answers
from toolrm_jax.toolcalls.formats import FORMATS


def main() -> None:
    """Read, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    asked = parser.parse_args().folder
    where = asked or folder("TOOLRM_DATA", "toolrm-data", "bfcl_outputs/raw")
    lines, parsed, called, texts = Counter(), Counter(), Counter(), Counter()
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    faults: Counter[str] = Counter()
    began = time.process_time()
    for _, model, candidate in read_answers(where):
        lines[model] += 1
        parsed[model] += candidate.fault is None
        called[model] += bool(candidate.calls)
        if candidate.fault is not None:
            faults[candidate.fault.partition(":")[0][:50]] += 1
        raw = candidate.raw or ""
        if not _is_list(raw):
            texts[model] += 1
            for name, parse in FORMATS.items():
                result = parse(raw)
                found[model][name] += result.fault is None and bool(result.calls)
    seconds = time.process_time() - began
    width = max(map(len, lines))
    print(f"{'model':<{width}}  {'lines':>6}  {'parsed':>7}  {'with calls':>10}  notation of most texts")
    for model in sorted(lines, key=lambda name: (-parsed[name] / lines[name], name)):
        # Llama's notation holds Python's: that is told only where it reads more.
        name = max(FORMATS, key=lambda one, counts=found[model]: (counts[one], one == "python"))
        most = found[model][name]
        best = (
            f"{name} {most / texts[model]:.1%} of {texts[model]:,}"
            if most
            else "none"
            if texts[model]
            else "(no texts)"
        )
        share, calls = parsed[model] / lines[model], called[model] / lines[model]
        print(f"{model:<{width}}  {lines[model]:>6,}  {share:>7.1%}  {calls:>10.1%}  {best}")
    total = sum(lines.values())
    print(f"{total:,} lines of {len(lines)} models, {sum(parsed.values()) / total:.2%} parsed, {seconds:.0f} s")
    print("faults:", ", ".join(f"{count:,} {fault}" for fault, count in faults.most_common(12)))


def _is_list(raw: str) -> bool:
    """Whether an interface for function calling gave this: calls as JSON, no text of the model's."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list)


if __name__ == "__main__":
    main()
