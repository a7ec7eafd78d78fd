"""Paper A's data with adapters: Qwen2.5-7B-Instruct on a single accelerator.

Command:   toolrm prepare config=data/outcome data.folder=FOLDER
           toolrm train config=toolrm_a_7b_lora
Hardware:  one GPU of 80 GB
Time:      an estimate: 2 hours on one H100 for 103 million tokens, at 40 % of its peak; not measured
Expect:    not measured; the adapters are 0.5 % of the weights, and their export has them merged
Follows:   arXiv 2509.11963, as toolrm_a_1p5b. Adapters are not the paper's: rank 16 on every linear weight and a
           rate of 1e-4 are what is usual (Hu et al. 2021).
"""

import chz

from toolrm_jax.configs import toolrm_a_7b
from toolrm_jax.models.lora import LoraConfig
from toolrm_jax.train.config import TrainConfig


def config() -> TrainConfig:
    """The settings of 7B, with adapters in place of the weights and one row at a time."""
    base = toolrm_a_7b.config()
    return chz.replace(
        base,
        output="runs/toolrm_a_7b_lora",
        model=chz.replace(base.model, lora=LoraConfig(rank=16, alpha=32.0)),
        optimizer=chz.replace(base.optimizer, learning_rate=1e-4),
        accumulate=16,
    )
