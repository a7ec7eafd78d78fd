"""Tokens that an SGLang server continues prompts with, greedily, each prompt given as token ids.

Source of the format: sglang `GenerateReqInput` (input_ids and sampling_params in; `output_ids` out).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from toolrm_jax.converters.served_scores import TIMEOUT, ask, check_address, shortened
from toolrm_jax.errors import ModelError

AT_A_TIME = 4
"""Requests under way at once: a server batches them, as it does when it serves."""


def served_tokens(url: str, prompts: Sequence[Sequence[int]], count: int, timeout: float = TIMEOUT) -> list[list[int]]:
    """`count` tokens after each prompt. Tokens that end a turn are tokens like others.

    A prompt has a request to itself: some servers refuse several in one. Raises ConfigError where no server answers,
    ModelError where it refuses or answers in another form.
    """
    check_address(url, "sglang")
    address = f"{url.rstrip('/')}/generate"
    # Otherwise the CPU server leaves tokens such as the end of a turn out of `output_ids`.
    greedy = {"temperature": 0, "max_new_tokens": count, "ignore_eos": True, "skip_special_tokens": False}

    def one(prompt: Sequence[int]) -> list[int]:
        answer = ask(address, {"input_ids": list(map(int, prompt)), "sampling_params": greedy}, timeout)
        found = answer.get("output_ids") if isinstance(answer, dict) else None
        if not isinstance(found, list) or not all(isinstance(token, int) for token in found):
            raise ModelError(f"{address}: answers in another form ({shortened(answer)}); is it an SGLang server?")
        if len(found) != count:
            raise ModelError(f"{address}: gives {len(found)} tokens, not {count}; raise the server's context length")
        return found

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(one, prompts))
