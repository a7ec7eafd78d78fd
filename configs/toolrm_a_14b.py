"""Paper A's largest reward model: Qwen2.5-14B-Instruct.

Command:   toolrm prepare config=data/outcome data.folder=FOLDER
           toolrm train config=toolrm_a_14b
Hardware:  topology=v6e:4x4, that is 16 TPU v6e chips; on 8 GPUs of 80 GB with accumulate=2
Time:      an estimate: 25 minutes for 103 million tokens, at 40 % of the chips' peak; not measured
Expect:    not measured; of the paper's accuracy on FC-RewardBench two notes say 82 % and 88 %, so neither is a target
Follows:   arXiv 2509.11963, as toolrm_a_1p5b
"""

import chz

from toolrm_jax.configs import toolrm_a_1p5b
from toolrm_jax.train.config import TrainConfig


def config() -> TrainConfig:
    """All but the backbone is as for 1.5B; one row a chip."""
    base = toolrm_a_1p5b.config()
    model = chz.replace(base.model, path="Qwen/Qwen2.5-14B-Instruct")
    return chz.replace(base, output="runs/toolrm_a_14b", model=model, accumulate=1)
