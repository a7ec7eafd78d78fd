"""Whatever networks and servers do, every context ends: with its answers, or with the reason why it has none."""

from __future__ import annotations

import pytest

from tests.synth.faults import run_through_faults
from tests.synth.stub_server import serving
from toolrm_jax.synth.servers import Patience

PATIENCE = Patience(timeout_s=0.4, attempts=3, first_s=0.01, longest_s=0.05, silence_s=60.0)


@pytest.mark.parametrize("way", ["generate", "chat"])
def test_with_every_fault_at_twenty_per_cent_all_contexts_finish_or_fail_for_the_true_reason(tmp_path, way):
    with serving() as stub:
        outcomes = run_through_faults(tmp_path, stub.url, way, "m", 60, PATIENCE, slow_s=1.0, at_once=8)
    assert {outcome.answer is None for outcome in outcomes} == {True, False}, "the proxy is too kind or too harsh"
