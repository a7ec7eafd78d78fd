"""The model card (README.md) of an exported reward model or policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from toolrm_jax.converters.card_commands import serving
from toolrm_jax.converters.expected import Task
from toolrm_jax.converters.licence import Licence, front_matter


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """One line of the results: a share in per cent over `count` groups, with its 95 % interval where it has one."""

    benchmark: str
    judge: str
    accuracy: float
    low: float | None
    high: float | None
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class CardFacts:
    """What a model card says.

    backbone, base_model, backbone_licence: name, hub id (empty where it has none) and licence of the model it was
    fine-tuned from. data: a sentence on the training data. data_licences: groups by licence. training: settings by
    name. metrics: this model's results and, beside them, the baselines'. limits: sentences on what the numbers do
    not say.
    """

    name: str
    backbone: str
    backbone_licence: Licence
    data: str
    data_licences: Mapping[str, int]
    training: Mapping[str, str]
    metrics: Sequence[Metric]
    limits: Sequence[str] = ()
    base_model: str = ""


def model_card(facts: CardFacts, end_of_turn: str, task: Task = "reward", *, adapters_pad: int | None = None) -> str:
    """The card as Markdown with the hub's front matter. adapters_pad: as for `card_commands.serving`."""
    results = [
        "## Results\n\nIn per cent, with 95 % intervals. Where no other measure is named it is accuracy: how often the "
        "right answer scores above the wrong.",
        _table(
            ("benchmark", "judge", "%", "95 % interval", "n"),
            ((m.benchmark, m.judge, f"{m.accuracy:.1f}", _range(m), str(m.count)) for m in facts.metrics),
        ),
    ]
    parts = [
        _front_matter(facts, task, "transformers" if adapters_pad is None else "peft"),
        f"# {facts.name}",
        _ABOUT[task].format(backbone=facts.backbone),
        *([] if adapters_pad is None else [_BESIDE]),
        f"## Trained on\n\n{facts.data}",
        _table(("setting", "value"), facts.training.items()),
        *(results if facts.metrics else []),
        *(["## Limits\n\n" + "\n".join(f"* {limit}" for limit in facts.limits)] if facts.limits else []),
        f"## Licences\n\nThe backbone's licence is {_linked(facts.backbone_licence)}; the training data's, by groups:",
        _table(("licence", "groups"), ((name, str(count)) for name, count in facts.data_licences.items())),
        *([_SCORE_POSITION.format(end=end_of_turn)] if task == "reward" else []),
        serving(task, adapters_pad),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_ABOUT: dict[Task, str] = {
    "reward": "A reward model for tool calls, fine-tuned from {backbone}. It reads a conversation with its tools and "
    "one answer (tool calls or text) and gives one number: the higher, the more likely the answer is right. The "
    "difference of two scores for the same conversation is the log-odds that the first answer is the better one; "
    "scores of different conversations are not comparable.",
    "policy": "A language model that calls tools, fine-tuned from {backbone}.",
}

_BESIDE = (
    "This folder holds low-rank adapters alone: they are loaded beside the backbone that `adapter_config.json` names."
)

_SCORE_POSITION = """## Where the score is read

At the end-of-turn token `{end}` of the answer: give `input_ids` that end there. The chat template writes a newline
after it, which has to be cut off."""


def _front_matter(facts: CardFacts, task: Task, library: str) -> str:
    fields = {
        **facts.backbone_licence.fields(),
        **({"base_model": facts.base_model} if facts.base_model else {}),
        "library_name": library,
        "pipeline_tag": "text-classification" if task == "reward" else "text-generation",
        "tags": [*(["reward-model"] if task == "reward" else []), "tool-use", "function-calling", "toolrm_jax"],
    }
    return front_matter(fields)


def _range(metric: Metric) -> str:
    known = metric.low is not None and metric.high is not None
    return f"{metric.low:.1f} to {metric.high:.1f}" if known else "—"


def _linked(licence: Licence) -> str:
    return f"[{licence}]({licence.link})" if licence.link else str(licence)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in ([*head], ["---"] * len(head), *map(_cells, rows))]
    return "\n".join(lines) if len(lines) > 2 else ""


def _cells(row: Sequence[str]) -> list[str]:
    return [str(cell).replace("|", "\\|").replace("\n", " ") for cell in row]
