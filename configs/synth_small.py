"""A look at what a small model answers: SmolLM2-135M, in this process, on a few questions of BFCL live.

Command:   toolrm synth [contexts=N] [models.0.weights=FOLDER models.0.name=NAME]
Hardware:  two CPU cores, 4 GiB of memory; no server, no network
Expect:    groups of graded answers in runs/synth/groups, most of them wrong: the model is small
"""

from toolrm_jax.commands.synth import Config, SamplingConfig
from toolrm_jax.commands.synth_models import ModelConfig


def config() -> Config:
    """The settings; few tools on offer, so that contexts are short."""
    return Config(
        output="runs/synth",
        models=(ModelConfig(name="SmolLM2-135M-Instruct", weights="smollm2-135m"),),
        sources=("bfcl/live",),
        contexts=40,
        max_tools=2,
        sampling=SamplingConfig(max_tokens=96),
    )
