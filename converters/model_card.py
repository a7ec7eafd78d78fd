"""The model card (README.md) of an exported reward model or policy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

from toolrm_jax.converters.expected import Task

# Which engines the project has loaded an export in and compared scores, or a policy's tokens, with its own.
SERVING: dict[Task, dict[str, bool]] = {
    "reward": {"transformers": True, "SGLang": False, "vLLM": False, "TEI": False},
    "policy": {"transformers": True, "SGLang": False, "vLLM": False},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """One line of the results: accuracy in per cent over `count` groups with its 95 % interval."""

    benchmark: str
    judge: str
    accuracy: float
    low: float
    high: float
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class CardFacts:
    """What a model card says.

    backbone, backbone_licence: name (hub id where there is one) and licence of the model it was fine-tuned from.
    data: a sentence on the training data. data_licences: groups by licence. training: settings by name.
    metrics: this model's results and, beside them, the baselines'. limits: sentences on what the numbers don't say.
    """

    name: str
    backbone: str
    backbone_licence: str
    data: str
    data_licences: Mapping[str, int]
    training: Mapping[str, str]
    metrics: Sequence[Metric]
    limits: Sequence[str] = ()


def model_card(facts: CardFacts, end_of_turn: str, task: Task = "reward") -> str:
    """The card as Markdown with the hub's front matter."""
    results = [
        "## Results\n\nAccuracy in per cent with 95 % intervals: how often the right answer scores above the wrong.",
        _table(
            ("benchmark", "judge", "accuracy", "95 % interval", "n"),
            (
                (m.benchmark, m.judge, f"{m.accuracy:.1f}", f"{m.low:.1f} to {m.high:.1f}", str(m.count))
                for m in facts.metrics
            ),
        ),
    ]
    parts = [
        _front_matter(facts, task),
        f"# {facts.name}",
        _ABOUT[task].format(backbone=facts.backbone),
        f"## Trained on\n\n{facts.data}",
        _table(("setting", "value"), facts.training.items()),
        *(results if facts.metrics else []),
        *(["## Limits\n\n" + "\n".join(f"* {limit}" for limit in facts.limits)] if facts.limits else []),
        f"## Licences\n\nThe backbone's licence is {facts.backbone_licence}; the training data's, by groups:",
        _table(("licence", "groups"), ((name, str(count)) for name, count in facts.data_licences.items())),
        *([_SCORE_POSITION.format(end=end_of_turn)] if task == "reward" else []),
        _serving(task),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_ABOUT: dict[Task, str] = {
    "reward": "A reward model for tool calls, fine-tuned from {backbone}. It reads a conversation with its tools and "
    "one answer (tool calls or text) and gives one number: the higher, the more likely the answer is right. The "
    "difference of two scores for the same conversation is the log-odds that the first answer is the better one; "
    "scores of different conversations are not comparable.",
    "policy": "A language model that calls tools, fine-tuned from {backbone}.",
}

_SCORE_POSITION = """## Where the score is read

At the end-of-turn token `{end}` of the answer: give `input_ids` that end there. The chat template writes a newline
after it, which has to be cut off."""

_TRANSFORMERS = """```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForSequenceClassification.from_pretrained(FOLDER, dtype=torch.float32)
text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False).rstrip("\\n")
ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
score = model(ids).logits[0, 0].item()
```"""

_SGLANG = """```
python -m sglang.launch_server --model-path FOLDER --is-embedding
curl localhost:30000/classify -H 'Content-Type: application/json' -d '{"input_ids": [INPUT_IDS]}'
```

The score is `embedding[0]` of each object. `/v1/classify` puts a softmax over the one output and always says 1."""

_VLLM = """```
vllm serve FOLDER --runner pooling
curl localhost:8000/classify -H 'Content-Type: application/json' -d '{"model": "FOLDER", "input": [INPUT_IDS]}'
```

The score is `probs[0]` of each object of `data`: `problem_type` keeps vLLM from a sigmoid."""

_TEI = """```
text-embeddings-router --model-id FOLDER --port 8080
curl localhost:8080/predict -H 'Content-Type: application/json' -d '{"inputs": TEXT, "raw_scores": true}'
```

TEXT is the conversation by the chat template, cut after the end-of-turn token."""

_GENERATE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
ids = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, return_tensors="pt")
print(tokenizer.decode(model.generate(ids, do_sample=False, max_new_tokens=256)[0, ids.shape[1] :]))
```"""

_COMMANDS: dict[Task, dict[str, str]] = {
    "reward": {"transformers": _TRANSFORMERS, "SGLang": _SGLANG, "vLLM": _VLLM, "TEI": _TEI},
    "policy": {
        "transformers": _GENERATE,
        "SGLang": "```\npython -m sglang.launch_server --model-path FOLDER --tool-call-parser qwen25\n```",
        "vLLM": "```\nvllm serve FOLDER --enable-auto-tool-choice --tool-call-parser hermes\n```",
    },
}
_MESSAGES: dict[Task, str] = {
    "reward": "`messages` hold the conversation and, last, the answer to be scored.",
    "policy": "`messages` hold the conversation.",
}
_TRIED: dict[Task, str] = {
    "reward": "tried: the scores are those of training",
    "policy": "tried: the logits are those of training",
}


def _serving(task: Task) -> str:
    parts = [f"## Serving\n\n{_MESSAGES[task]}"]
    for engine, tried in SERVING[task].items():
        state = _TRIED[task] if tried else "untried"
        parts.append(f"### {engine} ({state})\n\n{_COMMANDS[task][engine]}")
    return "\n\n".join(parts)


def _front_matter(facts: CardFacts, task: Task) -> str:
    fields = {
        "license": facts.backbone_licence.lower(),
        "base_model": facts.backbone,
        "library_name": "transformers",
        "pipeline_tag": "text-classification" if task == "reward" else "text-generation",
        "tags": [*(["reward-model"] if task == "reward" else []), "tool-use", "function-calling", "toolrm_jax"],
    }
    # JSON values are YAML values.
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in fields.items()), "---"])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in ([*head], ["---"] * len(head), *map(_cells, rows))]
    return "\n".join(lines) if len(lines) > 2 else ""


def _cells(row: Sequence[str]) -> list[str]:
    return [str(cell).replace("|", "\\|").replace("\n", " ") for cell in row]
