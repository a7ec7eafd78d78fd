"""The cards of a benchmark that is built: what of what, in counts; `rebuilt` reads them back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from toolrm_jax.evals.build_pairs import Built, components
from toolrm_jax.evals.rebuilt import FORM, SIDE, SIDES
from toolrm_jax.sources.bfcl_outputs import REFERENCE


def card(form: str, built: Built, config: Mapping[str, Any], side: str | None = None) -> str:
    """What was built of what: counts by error type, category and model, and what was left out, as JSON."""
    kinds = {
        "error types": (str(pair.wrong.verdict.error_type) for pair in built.pairs),
        "BFCL labels": (pair.wrong.label for pair in built.pairs),
        "categories": (pair.graded.task.category for pair in built.pairs),
        "right answers of": (pair.right.models[0] for pair in built.pairs),
        "wrong answers of": (pair.wrong.models[0] for pair in built.pairs),
        "licences of the questions": (pair.graded.task.licence for pair in built.pairs),
    }
    shown = (one for pair in built.pairs for one in (pair.right, pair.wrong) if one.candidate.maker != REFERENCE)
    models = {model for one in shown for model in one.models}
    counts = {
        "pairs": len(built.pairs),
        "questions": len({pair.graded.task.id for pair in built.pairs}),
        "models": len(models),
        "function components": len(set(components(built.pairs).values())),
    }
    counts |= {name: dict(Counter(some).most_common()) for name, some in kinds.items()}
    value = {FORM: form} | ({SIDE: side} if side else {})
    return _text(value | {"config": dict(config), "counts": counts, "drops": built.drops})


def card_of_sides(form: str, sides: Sequence[str], config: Mapping[str, Any]) -> str:
    """The card of the folder above: it says that the benchmarks are below."""
    return _text({FORM: form, SIDES: list(sides), "config": dict(config)})


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
