"""Paper A's smallest reward model: Qwen2.5-1.5B-Instruct on the reference over wrong calls, under random names.

Command:   toolrm prepare config=data/outcome data.folder=FOLDER
           toolrm train config=toolrm_a_1p5b
Hardware:  topology=v5e:2x4, that is 8 TPU v5e chips, or one GPU of 80 GB
Time:      an estimate: 25 minutes for 103 million tokens, at 40 % of the chips' peak; not measured
Expect:    not measured; the paper gives no number of this size that two notes of it agree on
Follows:   Outcome Reward Models for Tool-Calling LLMs (arXiv 2509.11963): the backbone, Bradley-Terry with reward
           centring. The paper names no other setting; the others are paper B's script's (toolrm_b_disc_4b), for one
           epoch. Rows of 8,192 left out none of 3,089 groups drawn from its data; about 220 pairs a step.
"""

from toolrm_jax.train.config import DataConfig, ModelConfig, TrainConfig
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.optimizer import OptimizerConfig


def config() -> TrainConfig:
    """Every weight is trained; two rows a chip, one after the other."""
    return TrainConfig(
        output="runs/toolrm_a_1p5b",
        model=ModelConfig(path="Qwen/Qwen2.5-1.5B-Instruct", remat="full"),
        data=DataConfig(
            train="runs/outcome/train", held_out="runs/outcome/held_out", row_length=8192, slots=128, rows=16
        ),
        optimizer=OptimizerConfig(learning_rate=4e-6),
        loss=LossWeights(centring=0.01),
        accumulate=2,
    )
