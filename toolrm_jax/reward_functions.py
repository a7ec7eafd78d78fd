"""Rewards for reinforcement learning: a reward model as TRL's and verl's reward functions.

The answers to one prompt are scored together, so its context is read once however many are sampled.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.reward_model import RewardModel

MODEL = "TOOLRM_MODEL"
"""The environment variable with the model's folder: verl gives a reward function nothing but its own arguments."""


def trl_reward(
    model: RewardModel, tools: str = "tools", messages: str = "messages", unreadable: float | None = None
) -> Callable[..., list[float]]:
    """A reward function for TRL's GRPOTrainer and its kin (`reward_funcs=[trl_reward(model)]`).

    tools, messages: the data set's columns with each prompt's tools and conversation, JSON texts or lists. TRL renders
    a conversation without the data set's tools, so the prompt itself is a text in which they stand; only a prompt that
    is a conversation needs no column `messages`. Completions are texts or messages; `<tool_call>` blocks of a text are
    read as calls.
    unreadable: the reward of an answer whose calls cannot be read; None scores it as the text that it is.
    """

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        texts = any(isinstance(prompt, str) for prompt in prompts)
        for name in (tools, messages) if texts else (tools,):
            if name not in columns:
                raise ConfigError(f"the data set has no column {name!r}; add each prompt's {name} as JSON, or name it")
        answers = [_answer(completion) for completion in completions]
        contexts = [_loaded(each) for each in columns.get(messages, prompts)]
        scores = _by_context(model, [_tools(each) for each in columns[tools]], contexts, answers)
        if unreadable is None:
            return scores
        return [unreadable if _faulty(answer) else score for answer, score in zip(answers, scores)]

    reward.__name__ = "toolrm"  # how TRL names its metrics
    return reward


def verl_reward(
    data_source: str, solution_str: str, ground_truth: Any = None, extra_info: Mapping[str, Any] | None = None
) -> float:
    """A reward function for verl (`custom_reward_function.path=… custom_reward_function.name=verl_reward`).

    TOOLRM_MODEL names the model's folder. `extra_info` holds the prompt's `tools` and `messages`, lists or their JSON
    texts; `ground_truth` is not looked at.
    """
    return verl_rewards([data_source], [solution_str], [ground_truth], [extra_info])[0]


def verl_rewards(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Mapping[str, Any] | None],
) -> list[float]:
    """The same for a whole batch, which verl's batch reward manager asks for: prompts that are alike are read once."""
    contexts = [info or {} for info in extra_infos]
    for info in contexts:
        if missing := [name for name in ("tools", "messages") if name not in info]:
            raise DataError(
                f"extra_info lacks {missing[0]!r}; give the prompt's tools and messages when preparing data"
            )
    prompts = [_loaded(info["messages"]) for info in contexts]
    return _by_context(_of_environment(), [_tools(info["tools"]) for info in contexts], prompts, list(solution_strs))


@functools.cache
def _loaded_model(folder: str) -> RewardModel:
    return RewardModel.load(folder)


def _of_environment() -> RewardModel:
    folder = os.environ.get(MODEL)
    if not folder:
        raise ConfigError(f"{MODEL} is not set; set it to the folder of a reward model")
    return _loaded_model(folder)


def _by_context(
    model: RewardModel, tools: Sequence[Any], prompts: Sequence[Any], answers: Sequence[Any]
) -> list[float]:
    """The score of each answer; the answers to prompts that read the same stand beside one context."""
    places: dict[str, list[int]] = {}
    for place, context in enumerate(zip(tools, prompts)):
        places.setdefault(json.dumps(context), []).append(place)
    groups = list(places.values())
    scored = model.score_all([(tools[g[0]], prompts[g[0]], [answers[i] for i in g]) for g in groups])
    found = {place: score for group, scores in zip(groups, scored) for place, score in zip(group, scores)}
    return [found[place] for place in range(len(answers))]


def _answer(completion: Any) -> Any:
    """A completion as a candidate: TRL gives a text, or a list of messages of which the first is the answer."""
    if isinstance(completion, str):
        return completion
    message = completion[0] if completion else {"content": ""}
    calls = message.get("tool_calls")
    return {"content": message.get("content") or "", "tool_calls": calls} if calls else message.get("content") or ""


def _faulty(answer: Any) -> bool:
    from toolrm_jax.toolcalls.parse import parse_hermes

    return isinstance(answer, str) and parse_hermes(answer).fault is not None


def _tools(value: Any) -> list[Any]:
    return _loaded(value) or []


def _loaded(value: Any) -> Any:
    """A JSON text's value; of a list what was there before `datasets` gave every row the fields of all others."""
    if not isinstance(value, str):
        return _filled_taken_out(value)
    try:
        return json.loads(value)
    except ValueError as error:
        raise DataError(f"not JSON ({error}): {value[:60]!r}; give lists, or their JSON texts") from None


def _filled_taken_out(value: Any) -> Any:
    """The value without the fields of None at any depth, but a message's own empty content."""
    if isinstance(value, Mapping):
        kept = {name: item for name, item in value.items() if item is not None or name == "content"}
        return {name: _filled_taken_out(item) for name, item in kept.items()}
    return [_filled_taken_out(item) for item in value] if isinstance(value, list | tuple) else value
