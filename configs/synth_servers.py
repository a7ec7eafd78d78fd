"""Answers for paper A's data: several open models, each behind SGLang servers of its own, each with a share.

Command:   toolrm synth config=synth_servers --dry-run, then without; servers by launch/sglang_server.sh
Hardware:  one GPU a server for models up to 14B; the client needs one core
Follows:   Outcome Reward Models for Tool-Calling LLMs (arXiv 2509.11963), section 3: a pool of permissively licensed
           models; which ones, and their sampling settings, are not published.
"""

from toolrm_jax.commands.synth import Config, SamplingConfig
from toolrm_jax.commands.synth_models import ModelConfig


def config() -> Config:
    """One entry a model: a large one behind two servers, small ones for half of the contexts, one with our template."""
    return Config(
        output="runs/answers",
        models=(
            ModelConfig(
                name="Qwen/Qwen2.5-7B-Instruct",
                servers=("http://127.0.0.1:30000", "http://127.0.0.1:30001"),
                at_once=128,
            ),
            ModelConfig(
                name="Qwen/Qwen2.5-0.5B-Instruct",
                servers=("http://127.0.0.1:30002",),
                way="generate",
                weights="Qwen/Qwen2.5-0.5B-Instruct",
                format="hermes",
                share=0.5,
                at_once=256,
            ),
            ModelConfig(
                name="ibm-granite/granite-3.3-2b-instruct",
                servers=("http://127.0.0.1:30003",),
                way="generate",
                weights="ibm-granite/granite-3.3-2b-instruct",
                format="granite",
                share=0.5,
                at_once=256,
            ),
            ModelConfig(
                name="mistralai/Mistral-7B-Instruct-v0.3",
                servers=("http://127.0.0.1:30004",),
                format="openai",
                share=0.5,
                at_once=128,
            ),
        ),
        sources=("sgd", "seal_tools", "bfcl/live"),
        sampling=SamplingConfig(max_tokens=1024),
    )
