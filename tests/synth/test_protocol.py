"""Who a request is, and the seed that follows from it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.synth.protocol import Answer, Prompt, Sampling, request_key, requests

PROMPT = Prompt(ids=(1, 2, 3))
CHANGES = {
    "temperature": 0.5, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "max_tokens": 3, "stop_ids": (7,), "thinking": False,
    "logprobs": True, "seed": 1,
}  # fmt: skip


def test_a_request_is_its_input_model_options_and_sample():
    key = request_key(PROMPT, "m", Sampling(), 0)
    assert key == request_key(Prompt(ids=(1, 2, 3)), "m", Sampling(), 0)
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Sampling)}
    others = [
        request_key(PROMPT, "m", dataclasses.replace(Sampling(), **{name: to}), 0) for name, to in CHANGES.items()
    ]
    others += [request_key(PROMPT, "n", Sampling(), 0), request_key(PROMPT, "m", Sampling(), 1)]
    others += [request_key(other, "m", Sampling(), 0) for other in (Prompt(ids=(1, 2)), Prompt(body="[1,2,3]"))]
    assert len({key, *others}) == 1 + len(others)


def test_a_key_is_the_same_in_every_process_and_version():
    # Journals are paid for: a key that changes makes every answer in them a new request.
    assert request_key(PROMPT, "m", Sampling(), 0) == "e4129c7a1ec97a1b331ae3df668253b856c59af75417f675f8cc3444e7ede1cf"


def test_a_whole_number_is_the_same_option_as_a_fraction():
    assert request_key(PROMPT, "m", Sampling(temperature=1), 0) == request_key(PROMPT, "m", Sampling(), 0)


@given(st.integers(0, 50), st.integers(1, 8))
def test_every_sample_has_a_seed_of_its_own_in_an_engines_range(first, count):
    prompt = Prompt(ids=(first, 5))
    seeds = [request.seed for request in requests(prompt, "m", Sampling(), range(count))]
    assert len(set(seeds)) == count
    assert all(0 < seed < 2**31 for seed in seeds)
    assert [one.seed for one in requests(prompt, "m", Sampling(), range(count))] == seeds


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"min_p": 2},
        {"max_tokens": 0},
        {"stop_ids": (-1,)},
    ],
)
def test_options_without_sense_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"{name}="):
        Sampling(**wrong)


@pytest.mark.parametrize("wrong", [{}, {"ids": (1,), "body": "{}"}])
def test_a_prompt_is_ids_or_a_body(wrong):
    with pytest.raises(DataError, match="either token ids or a body"):
        Prompt(**wrong)


def test_options_and_answers_come_back_from_json():
    options = Sampling(temperature=0.5, stop_ids=(1, 2), thinking=True)
    assert Sampling.from_json(options.to_json()) == options
    answer = Answer("hi", "stop", 3, 2, 0.5, "http://a", {"content": "hi"}, (1, 2), (-0.5, -1.0))
    assert Answer.from_json(answer.to_json()) == answer
