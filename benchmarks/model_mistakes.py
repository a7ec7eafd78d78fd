"""What a small model gets wrong beside what rules make wrong: the way from contexts to preference pairs, in one run.

    python benchmarks/model_mistakes.py [MODEL] [--format hermes] [--contexts 67] [--samples 4] [--max-tokens 96]
                                        [--output FOLDER]

`toolrm synth` has the model (smollm2-135m, a hub id, folder or GGUF file) answer contexts of SGD, Seal-Tools and BFCL
live in this process. Answers are compared with the references; a context with right and wrong ones gives pairs. Rules
make as many mistakes of the same tasks. Printed is the share of each error type among the distinct wrong answers of
both: what rules make too often or too seldom. Stopped at any time, the same command with `--output` goes on, also with
more contexts; with another `--format` it reads the same answers again.

Contexts come from the folders that the tests use too (TOOLRM_DATA); tools beyond `--max-tools` are left out, so that
contexts are short.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from toolrm_jax.commands import synth
from toolrm_jax.commands.backbone import DEFAULT, title
from toolrm_jax.commands.synth_groups import GROUPS
from toolrm_jax.commands.synth_models import ModelConfig
from toolrm_jax.errors import ToolrmError
from toolrm_jax.preferences.groups import Recipe, make_groups
from toolrm_jax.preferences.pairs import higher_over_lower, right_over_wrong
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.toolcalls.types import ErrorType, Group

ALL_TOOLS = 10_000


def settings(options: argparse.Namespace, output: Path) -> synth.Config:
    """What `toolrm synth` is asked to do."""
    return synth.Config(
        output=str(output),
        models=(
            ModelConfig(
                name=title(options.model), weights=options.model, samples=options.samples, format=options.format
            ),
        ),
        sources=("sgd", "seal_tools", "bfcl/live"),
        folder=os.environ.get("TOOLRM_DATA", "~/.cache/toolrm-data"),
        contexts=options.contexts,
        max_tools=options.max_tools,
        sampling=synth.SamplingConfig(max_tokens=options.max_tokens),
    )


def mistakes(groups: Sequence[Group]) -> Counter[ErrorType]:
    """Error types of the wrong answers."""
    return Counter(verdict.error_type for group in groups for verdict in group.verdicts if not verdict.right)


def tell(groups: Sequence[Group], samples: int) -> None:
    """Print what came of the answers, and the table of error types."""
    for source in sorted({group.task.source for group in groups}):
        some = [group for group in groups if group.task.source == source]
        counts = [candidate.count for group in some for candidate in group.candidates]
        right = [verdict.right for group in some for verdict in group.verdicts]
        both = sum(any(v.right for v in group.verdicts) and not all(v.right for v in group.verdicts) for group in some)
        pairs = [sum(1 for group in some for _ in view(group)) for view in (right_over_wrong, higher_over_lower)]
        print(
            f"{source}: {len(some)} contexts, {sum(counts)} answers, "
            f"{sum(count for count, good in zip(counts, right) if good) / sum(counts):.0%} of them right, "
            f"{len(counts)} distinct; {both} contexts with right and wrong ones; {pairs[0]} pairs of right over wrong, "
            f"{pairs[1]} of higher over lower rule score"
        )
    made = make_groups(
        [group.task for group in groups], Recipe(mistakes=samples, joined=0.0, max_tools=ALL_TOOLS), seed=0
    )
    sides = {"model": mistakes(groups), "rules": mistakes(made.groups)}
    width = max(map(len, ErrorType))
    print(f"{'error type':{width}}" + "".join(f"{name:>16}" for name in sides))
    for kind in ErrorType:
        cells = (f"{found[kind]:6} {found[kind] / max(found.total(), 1):8.1%}" for found in sides.values())
        print(f"{kind!s:{width}}" + "".join(f"{cell:>16}" for cell in cells))


def main() -> int:
    """Ask, grade and print; what `toolrm synth` gives back where a signal stopped it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=DEFAULT)
    parser.add_argument("--format", default="hermes", help="how the model writes calls; json for Qwen2.5-Coder-0.5B")
    parser.add_argument("--contexts", type=int, default=67, help="of each source")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--max-tools", type=int, default=4)
    parser.add_argument("--output", default="", help="folder of the journal and the groups; empty: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(options.output or temporary)
        try:
            if code := synth.run(settings(options, output), overwrite=True):  # more contexts, same journal
                return code
        except ToolrmError as error:
            where = settings(options, output).folder
            raise SystemExit(f"{error}\n(contexts come from folders below {where}, which TOOLRM_DATA names)") from None
        tell(list(read_groups(output / GROUPS)), options.samples)
    return 0


if __name__ == "__main__":
    sys.exit(main())
