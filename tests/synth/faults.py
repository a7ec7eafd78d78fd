"""A run through the fault proxy, and what must be true of it: every outcome is explained by the faults it met."""

from __future__ import annotations

import collections
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.synth.fault_proxy import FAULTS, REASONS, fault_proxy
from toolrm_jax.synth.http_sampler import HttpSampler
from toolrm_jax.synth.journal import Journal
from toolrm_jax.synth.protocol import Asked, Outcome, Prompt, Sampling, requests
from toolrm_jax.synth.servers import Patience, Server
from toolrm_jax.synth.wire import WAYS

SAMPLES = 2


def run_through_faults(
    folder: Path,
    upstream: str,
    way: str,
    model: str,
    contexts: int,
    patience: Patience,
    slow_s: float,
    at_once: int,
    share: float = 0.125,
    faults: Sequence[str] = FAULTS,
) -> list[Outcome]:
    """Ask that many contexts; AssertionError where an outcome is missing or has another reason than it met.

    share: of the requests that meet each fault; by all six together, three of four requests meet one. slow_s: before a
    slow first byte. Longer than the timeout it is a failure, else an answer like any other.
    """
    options = Sampling(max_tokens=4)
    asked = []
    for number in range(contexts):
        made = prompt(way, number)
        asked.append(Asked(f"t{number}", made, requests(made, model, options, range(SAMPLES))))
    with fault_proxy(upstream, share, slow_s, faults=faults) as proxy, Journal(folder / f"{way}.sqlite") as journal:
        plan = journal.plan(model, options, SAMPLES * contexts)
        sampler = HttpSampler(model, [Server(proxy.url, at_once)], WAYS[way](), patience)
        sampler.run(asked, options, lambda outcome: journal.record(plan, outcome), lambda: False)
        journal.settle()
        outcomes = [outcome for one in asked for outcome in journal.outcomes(one.requests)]
    assert [outcome.request.key for outcome in outcomes] == [r.key for one in asked for r in one.requests]

    passing = {"", "slow"} if slow_s < patience.timeout_s else {""}
    met = collections.defaultdict(list)
    split = set()  # what a server that ignores n was asked for one by one: whose fault is whose is not known
    for text, fault in proxy.requests:
        body = json.loads(text)
        met[key_of(way, body)].append(fault)
        if body.get("n", SAMPLES) < SAMPLES:
            split.add(key_of(way, body))
    assert {fault for faults in met.values() for fault in faults} == {*faults, ""}
    prompts = {one.task: one.prompt for one in asked}
    for outcome in outcomes:
        body = json.loads(WAYS[way]().body(model, prompts[outcome.task], options, [outcome.request]))
        key = key_of(way, body)
        counted = [fault for fault in met[key] if fault != "busy"]
        if outcome.answer is not None:
            assert passing & set(counted)
            continue
        told = [f"{patience.attempts} attempts, the last: {REASONS[fault]}" for fault in counted if fault in REASONS]
        assert len(told) >= patience.attempts
        assert outcome.failure.startswith(tuple(told) if key in split else told[-1]), (outcome.failure, counted)
        if key not in split:
            assert not passing & set(counted)
            assert len(counted) == patience.attempts
    return outcomes


def prompt(way: str, number: int) -> Prompt:
    """A short question; ids that every tokenizer has."""
    if way == "generate":
        return Prompt(ids=(1, 2, 3 + number))
    return Prompt(body=json.dumps({"messages": [{"role": "user", "content": f"q{number}"}]}))


def key_of(way: str, body: dict[str, Any]) -> str:
    """By what a request is told: native ones by prompt and seed, chat ones, which share samples, by their messages."""
    if way == "chat":
        return json.dumps(body["messages"])
    return json.dumps([body["input_ids"], body["sampling_params"]["sampling_seed"]])
