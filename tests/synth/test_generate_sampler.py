"""Our own models behind the sampler's protocol: what is asked for is answered or failed, once."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch (extra `hf`) makes the tiny model")

from tests.models.tiny import make
from toolrm_jax.errors import ConfigError
from toolrm_jax.models.decode import decoder
from toolrm_jax.models.folder import load_model
from toolrm_jax.synth.generate import Limits, cache_gib
from toolrm_jax.synth.generate_sampler import InProcess
from toolrm_jax.synth.protocol import LENGTH, STOPPED, Asked, Prompt, Sampling, requests

OPTIONS = Sampling(temperature=0.9, max_tokens=8, stop_ids=tuple(range(20)), logprobs=True)


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    make("Llama", folder, "ForCausalLM")
    return InProcess(decoder(load_model(folder)[0]), lambda ids: " ".join(map(str, ids)), Limits(rows=16, chunk=32))


def asked(lengths, options=OPTIONS, samples=(0, 1, 2, 3)):
    random = np.random.default_rng(0)
    found = []
    for number, length in enumerate(lengths):
        prompt = Prompt(ids=tuple(random.integers(20, 211, length).tolist()))
        found.append(Asked(f"task {number}", prompt, requests(prompt, "tiny", options, samples)))
    return found


def run(sampler, wanted, options=OPTIONS, stopped=lambda: False):
    outcomes = []
    sampler.run(iter(wanted), options, outcomes.append, stopped)
    return outcomes


def test_every_request_is_answered_once(sampler):
    wanted = asked([5, 40, 17, 3])
    found = run(sampler, wanted)
    assert sorted(one.request.key for one in found) == sorted(r.key for one in wanted for r in one.requests)
    prompts = {one.task: one.prompt.ids for one in wanted}
    for one in found:
        answer = one.answer
        assert answer.text == " ".join(map(str, answer.ids))
        assert answer.tokens == len(answer.ids) == len(answer.logprobs)
        assert answer.prompt_tokens == len(prompts[one.task])
        assert answer.finish == (LENGTH if answer.tokens == 8 else STOPPED)
        assert answer.seconds > 0
    assert len({one.answer.ids for one in found}) > 12, "every sample has a seed of its own"


def test_a_run_for_what_is_left_draws_what_the_whole_would_have(sampler):
    whole = {one.request.key: one.answer.ids for one in run(sampler, asked([5, 40, 17]))}
    rest = {one.request.key: one.answer.ids for one in run(sampler, asked([5, 40, 17], samples=(1, 3)))}
    assert len(rest) == 6
    assert rest == {key: whole[key] for key in rest}


def test_a_context_that_is_too_long_fails_and_the_others_go_on(sampler):
    found = run(sampler, asked([5, 505, 504, 9]))
    failed = [one for one in found if one.answer is None]
    assert {one.task for one in failed} == {"task 1"}
    assert len(failed) == 4
    assert failed[0].failure == "context of 505 tokens and an answer of 8 are more than the 512 that the model reads"
    assert len(found) == 16


def test_a_context_that_does_not_fit_into_the_cache_fails_and_the_others_go_on(sampler):
    limits = Limits(rows=16, chunk=32)
    fits, needed = (cache_gib(sampler.model, tokens, 8, limits) for tokens in (65, 66))
    assert fits < needed
    small = InProcess(sampler.model, sampler.decode, dataclasses.replace(limits, cache_gib=fits))
    wanted = asked([66, 65, 300], samples=(0, 1))
    found = run(small, wanted)
    assert {one.task for one in found if one.answer is None} == {"task 0", "task 2"}
    assert re.fullmatch(
        r"context of 66 tokens and an answer of 8 need \S+ GiB of keys and values, limits.cache_gib is \S+",
        next(one.failure for one in found if one.task == "task 0"),
    )
    assert len(found) == 6
    assert {one.failure == "" for one in run(small, wanted[2:])} == {False}, "where none fits there is nothing to do"


def test_once_stopped_nothing_more_is_written(sampler):
    outcomes = []
    sampler.run(iter(asked([5] * 40)), OPTIONS, outcomes.append, lambda: len(outcomes) >= 10)
    assert 10 <= len(outcomes) < 40
    assert run(sampler, asked([5]), stopped=lambda: True) == []


def test_log_probabilities_are_kept_only_where_asked_for(sampler):
    options = Sampling(temperature=0, max_tokens=4, stop_ids=(1,))
    found = run(sampler, asked([6], options), options)
    assert {one.answer.logprobs for one in found} == {()}
    assert len({one.answer.ids for one in found}) == 1, "the likeliest answer is one"


@pytest.mark.parametrize(
    ("options", "prompt", "says"),
    [
        (Sampling(), Prompt(ids=(1,)), "stop_ids: name the token that ends a turn"),
        (OPTIONS, Prompt(body="{}"), "task x: asked for without token ids"),
    ],
)
def test_what_can_never_be_answered_is_refused(sampler, options, prompt, says):
    with pytest.raises(ConfigError, match=says):
        run(sampler, [Asked("x", prompt, requests(prompt, "tiny", options, (0,)))], options)
