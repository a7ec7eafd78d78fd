"""The backend is chosen by name for the devices there are, and is held against the reference before it is used."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from toolrm_jax.errors import ModelError
from toolrm_jax.models import attention_tpu
from toolrm_jax.models.attention_backend import choose_backend, self_check
from toolrm_jax.models.attention_flash import Flash
from toolrm_jax.models.attention_xla import attend_xla


@pytest.mark.parametrize(
    ("name", "platform", "chosen"),
    [
        ("auto", "cpu", Flash("cpu")),
        ("xla", "cpu", attend_xla),
        ("xla", "tpu", attend_xla),
        ("auto", "tpu", Flash("tpu")),
        ("tpu", "tpu", Flash("tpu")),
        ("auto", "gpu", Flash("gpu")),
        ("auto", "cuda", Flash("gpu")),
    ],
)
def test_a_backend_is_chosen_by_name_and_platform(name, platform, chosen):
    assert choose_backend(name, platform) == chosen


@pytest.mark.parametrize(
    ("name", "says"),
    [("flash", "'flash' is unknown; known: auto, xla, tpu, gpu"), ("tpu", "'tpu' does not run on cpu devices; use")],
)
def test_a_backend_that_cannot_run_is_refused_in_one_line(name, says):
    with pytest.raises(ModelError, match=says):
        choose_backend(name, "cpu")


def test_the_self_check_says_in_one_line_how_far_the_kernel_is_from_the_truth():
    line = self_check(Flash("tpu", interpret=True), heads=2, kv_heads=1, head_dim=8, dtype=jnp.float32)
    assert line.startswith("attention: tpu kernel equals the reference on small rows in float32 (values ")
    assert "\n" not in line
    assert self_check(attend_xla, heads=2, kv_heads=1, head_dim=8, dtype=jnp.float32) == "attention: XLA reference"


@pytest.mark.parametrize("fault", ["wrong", "not a number"])
def test_a_kernel_that_differs_from_the_reference_is_refused(fault, monkeypatch):
    right = attention_tpu.backward

    def wrong(*arguments):
        dq, dk, dv = right(*arguments)
        return dq, dk, dv * 1.01 if fault == "wrong" else jnp.full_like(dv, jnp.nan)

    monkeypatch.setattr(attention_tpu, "backward", wrong)
    with pytest.raises(ModelError, match="the tpu kernel differs from the reference"):
        self_check(Flash("tpu", interpret=True), heads=2, kv_heads=1, head_dim=8, dtype=jnp.float32)
