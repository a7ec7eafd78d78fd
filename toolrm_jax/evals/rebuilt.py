"""The card of a benchmark that `toolrm eval build` made: what tells it from the published one whose form it has."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from toolrm_jax.errors import DataError
from toolrm_jax.files import CARD

FC_REWARDBENCH, TRBENCH = "FC-RewardBench", "TRBench-BFCL"
FORM, SIDE, SIDES = "rebuilt in the form of", "side", "sides"
GROUND_TRUTH = "ground truth"
"""Whom the right answers of the published benchmarks are of: BFCL itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a reader says of a benchmark of ours instead of what it says of the published one."""

    form: str
    name: str
    note: str
    facts: tuple[tuple[str, str], ...]


def rebuilt(path: Path) -> Rebuilt | None:
    """What the card in the folder, or beside the file, says; None where there is none, or of another stage.

    Raises DataError for a folder of several sides: each is a benchmark of its own.
    """
    file = (path if path.is_dir() else path.parent) / CARD
    try:
        card = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); build the benchmark again") from None
    if not isinstance(card, dict) or FORM not in card:
        return None
    if SIDES in card:
        names = ", ".join(str(path / name) for name in card[SIDES])
        raise DataError(f"{path}: was built in several sides; name one of {names}")
    form, side = card[FORM], card.get(SIDE)
    counts = card["counts"]
    note = (
        f"In {form}'s form, made by `toolrm eval build` from recorded answers of {counts['models']:,} models: not the "
        "published benchmark, so no published number stands beside it."
    )
    facts = (
        ("pairs", f"{counts['pairs']:,} of {counts['questions']:,} questions"),
        *((f"left out, {reason}", f"{count:,}") for reason, count in sorted(card["drops"].items())),
    )
    return Rebuilt(form, f"{form} rebuilt" + (f", {side}" if side else ""), note, facts)
