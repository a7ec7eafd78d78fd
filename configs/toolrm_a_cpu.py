"""Paper A's data on a laptop: the middle layers of SmolLM2-135M-Instruct, in the quickstart's way.

Command:   toolrm prepare config=data/outcome data.folder=FOLDER
           toolrm train config=toolrm_a_cpu
Hardware:  two CPU cores, 8 GiB of memory
Time:      38 minutes of steps, measured beside other work; alone 12 by an estimate, the quickstart's 870 tokens/s
Expect:    measured once: 95.1 % (89.6 to 97.8) of 347 held-out pairs (120 groups), hand rule 69.7; of 300 real
           non-live pairs 69.3 (63.9 to 74.3), hand rule 81.0: its mistakes are made ones
Follows:   the quickstart, whose reasons stand in configs/quickstart.py
"""

import chz

from toolrm_jax.configs import quickstart
from toolrm_jax.train.config import DataConfig, TrainConfig


def config() -> TrainConfig:
    """The quickstart's training on the groups of `toolrm prepare config=data/outcome`."""
    base = quickstart.config()
    return chz.replace(
        base.train,
        output="runs/toolrm_a_cpu",
        model=chz.replace(base.train.model, path=base.model),
        data=DataConfig(
            train="runs/outcome/train",
            held_out="runs/outcome/held_out",
            row_length=2048,
            slots=48,
            rows=2,
            held_out_groups=24,
        ),
    )
