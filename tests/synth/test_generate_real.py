"""Greedy answers of published weights are those of transformers, token for token."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch (extra `hf`) is the reference here")

from toolrm_jax.commands.verify_suite import prompts  # noqa: E402
from toolrm_jax.converters.gguf import import_gguf  # noqa: E402
from toolrm_jax.data.chat import Chat  # noqa: E402
from toolrm_jax.models.decode import decoder  # noqa: E402
from toolrm_jax.models.draw import Filters  # noqa: E402
from toolrm_jax.models.folder import load_model  # noqa: E402
from toolrm_jax.synth.generate import Limits, generate  # noqa: E402
from toolrm_jax.synth.generate_rows import Wanted  # noqa: E402

TOKENS = 32


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2-135m.gguf", "qwen2.5-coder-0.5b.gguf"])
def test_fifty_prompts_are_answered_as_transformers_does(name, model_file, tmp_path):
    from transformers import AutoModelForCausalLM

    folder = import_gguf(model_file(name), tmp_path / "model", dtype="float32")
    chat = Chat.load(folder)
    given = [chat.context_ids(context) for context in prompts()]
    assert len(given) == 50
    model = decoder(load_model(folder)[0])
    steps = generate(
        model,
        [Wanted(i, ids, (1,)) for i, ids in enumerate(given)],
        stop_ids=[chat.end_of_turn_id],
        max_tokens=TOKENS,
        filters=Filters(0),
        limits=Limits(rows=64),
    )
    ours = {one.name: one for step in steps for one in step}
    del model
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    apart = []
    for i, prompt in enumerate(given):
        ids = torch.tensor([prompt])
        theirs = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=TOKENS,
            do_sample=False,
            repetition_penalty=1.0,
            eos_token_id=chat.end_of_turn_id,
            pad_token_id=chat.pad_id,
        )[0, len(prompt) :].tolist()
        one = ours[i]
        if [*one.tokens, *[chat.end_of_turn_id] * one.stopped] != theirs:
            apart.append((i, one.tokens, theirs))
    assert apart == []
    assert np.mean([len(one.tokens) for one in ours.values()]) > 5
