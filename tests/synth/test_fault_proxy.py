"""Whatever networks and servers do, every context ends: with its answers, or with the reason why it has none."""

from __future__ import annotations

import collections
import random

import pytest

from tests.synth.fault_proxy import FAULTS, drawn
from tests.synth.faults import run_through_faults
from tests.synth.stub_server import serving
from toolrm_jax.synth.servers import Patience

PATIENCE = Patience(timeout_s=0.4, attempts=3, first_s=0.01, longest_s=0.05, silence_s=60.0)


@pytest.mark.parametrize("way", ["generate", "chat"])
def test_when_three_of_four_requests_meet_a_fault_all_contexts_finish_or_fail_for_the_true_reason(tmp_path, way):
    with serving() as stub:
        outcomes = run_through_faults(tmp_path, stub.url, way, "m", 60, PATIENCE, slow_s=1.0, at_once=8)
    assert {outcome.answer is None for outcome in outcomes} == {True, False}, "the proxy is too kind or too harsh"


@pytest.mark.parametrize("way", ["generate", "chat"])
@pytest.mark.parametrize("fault", FAULTS)
def test_with_a_fault_at_twenty_per_cent_all_contexts_finish_or_fail_for_the_true_reason(tmp_path, way, fault):
    with serving() as stub:
        outcomes = run_through_faults(
            tmp_path, stub.url, way, "m", 30, PATIENCE, slow_s=1.0, at_once=8, share=0.2, faults=[fault]
        )
    assert sum(outcome.answer is not None for outcome in outcomes) >= 50


@pytest.mark.parametrize(("share", "faults"), [(0.125, FAULTS), (0.2, FAULTS[:1])])
def test_faults_are_as_frequent_as_is_said(share, faults):
    rng = random.Random(0)
    counts = collections.Counter(drawn(rng, share, faults) for _ in range(20_000))
    assert set(counts) == {*faults, ""}
    # Five standard deviations of the share of 20,000 draws.
    assert all(abs(counts[fault] / 20_000 - share) < 0.012 for fault in faults)
