"""Paper A's reward model of 7B: Qwen2.5-7B-Instruct.

Command:   toolrm prepare config=data/outcome data.folder=FOLDER
           toolrm train config=toolrm_a_7b
Hardware:  topology=v6e:2x4, that is 8 TPU v6e chips, or 8 GPUs of 80 GB
Time:      an estimate: 25 minutes for 103 million tokens, at 40 % of the chips' peak; not measured
Expect:    not measured
Follows:   arXiv 2509.11963, as toolrm_a_1p5b
"""

import chz

from toolrm_jax.configs import toolrm_a_1p5b
from toolrm_jax.train.config import TrainConfig


def config() -> TrainConfig:
    """All but the backbone is as for 1.5B."""
    base = toolrm_a_1p5b.config()
    return chz.replace(base, output="runs/toolrm_a_7b", model=chz.replace(base.model, path="Qwen/Qwen2.5-7B-Instruct"))
