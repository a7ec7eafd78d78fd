"""How a model card says that its folder is loaded and served: one snippet an engine, tried or not.

FOLDER, INPUT_IDS, TEXT, `messages` and `tools` are the reader's to fill in; PAD is the number of the pad token.
"""

from __future__ import annotations

import dataclasses

from toolrm_jax.converters.expected import Task


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """A snippet, and whether the project has run it on an export and compared what came with its own."""

    name: str
    snippet: str
    tried: bool = False


_SCORED = """text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False).rstrip("\\n")
ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
score = model(ids).logits[0, 0].item()
```"""

# return_dict: transformers 5 gives a mapping without it.
_GENERATED = """ids = tokenizer.apply_chat_template(
    messages, tools=tools, add_generation_prompt=True, return_tensors="pt", return_dict=False
)
print(tokenizer.decode(model.generate(ids, do_sample=False, max_new_tokens=256)[0, ids.shape[1] :]))
```"""

_CLASSIFIER = f"""```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForSequenceClassification.from_pretrained(FOLDER, dtype=torch.float32)
{_SCORED}"""

_CAUSAL_LM = f"""```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
{_GENERATED}"""

_PEFT_CLASSIFIER = f"""```python
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoPeftModelForSequenceClassification.from_pretrained(
    FOLDER, num_labels=1, pad_token_id=PAD, dtype=torch.float32
)
{_SCORED}

`pad_token_id` is not to be left out: the score is read at the last token that is no padding, and by the backbone's
own config that may be one inside the prompt."""

_PEFT_CAUSAL_LM = f"""```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoPeftModelForCausalLM.from_pretrained(FOLDER)
{_GENERATED}"""

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

WHOLE: dict[Task, tuple[Engine, ...]] = {
    "reward": (
        Engine("transformers", _CLASSIFIER, tried=True),
        Engine("SGLang", _SGLANG),
        Engine("vLLM", _VLLM),
        Engine("TEI", _TEI),
    ),
    "policy": (
        Engine("transformers", _CAUSAL_LM, tried=True),
        Engine("SGLang", "```\npython -m sglang.launch_server --model-path FOLDER --tool-call-parser qwen25\n```"),
        Engine("vLLM", "```\nvllm serve FOLDER --enable-auto-tool-choice --tool-call-parser hermes\n```"),
    ),
}
ADAPTERS: dict[Task, tuple[Engine, ...]] = {
    "reward": (Engine("PEFT", _PEFT_CLASSIFIER, tried=True),),
    "policy": (Engine("PEFT", _PEFT_CAUSAL_LM, tried=True),),
}
_MESSAGES: dict[Task, str] = {
    "reward": "`messages` hold the conversation and, last, the answer to be scored.",
    "policy": "`messages` hold the conversation.",
}
_TRIED: dict[Task, str] = {
    "reward": "tried: the scores are those of training",
    "policy": "tried: the logits are those of training",
}


def serving(task: Task, adapters_pad: int | None = None) -> str:
    """The card's section. adapters_pad: the pad token's id, of a folder that holds adapters alone; None: all weights.

    Adapters need the backbone beside them, so no engine that asks for a whole model is named.
    """
    parts = [f"## Serving\n\n{_MESSAGES[task]}"]
    for engine in WHOLE[task] if adapters_pad is None else ADAPTERS[task]:
        state = _TRIED[task] if engine.tried else "untried"
        parts.append(f"### {engine.name} ({state})\n\n{engine.snippet.replace('PAD', str(adapters_pad))}")
    return "\n\n".join(parts)
