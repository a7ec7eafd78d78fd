"""Paper B's discriminative training on a larger backbone: Qwen3-8B.

Command:   toolrm prepare config=data/balanced data.folder=FOLDER
           toolrm train config=toolrm_b_disc_8b
Hardware:  topology=v6e:2x4, that is 8 TPU v6e chips, or 8 GPUs of 80 GB
Time:      an estimate: 12 minutes for 48 million tokens, at 40 % of the chips' peak; not measured
Expect:    not measured; the paper's own discriminative models are of 4B
Follows:   arXiv 2510.26167, as toolrm_b_disc_4b
"""

import chz

from toolrm_jax.configs import toolrm_b_disc_4b
from toolrm_jax.train.config import TrainConfig


def config() -> TrainConfig:
    """All but the backbone is as for 4B."""
    base = toolrm_b_disc_4b.config()
    return chz.replace(base, output="runs/toolrm_b_disc_8b", model=chz.replace(base.model, path="Qwen/Qwen3-8B"))
