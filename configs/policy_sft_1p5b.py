"""A policy: Qwen2.5-1.5B-Instruct learns to give the reference itself, with the names that the tools have.

Command:   toolrm prepare config=data/outcome output=runs/references obfuscated=false data.folder=FOLDER
           toolrm train config=policy_sft_1p5b
           toolrm export checkpoint=runs/policy_sft_1p5b output=FOLDER
Hardware:  topology=v5e:2x4, that is 8 TPU v5e chips, or one GPU of 80 GB
Time:      an estimate: 20 minutes for 93 million tokens, at 40 % of the chips' peak; not measured
Expect:    not measured; held-out `next_token` is the loss of the reference's tokens
Follows:   supervised fine-tuning as it is usual: the loss is on the answer alone. The learning rate is our choice
"""

from toolrm_jax.train.config import DataConfig, ModelConfig, TrainConfig
from toolrm_jax.train.optimizer import OptimizerConfig


def config() -> TrainConfig:
    """One epoch; two rows a chip, one after the other."""
    return TrainConfig(
        output="runs/policy_sft_1p5b",
        task="sft",
        model=ModelConfig(path="Qwen/Qwen2.5-1.5B-Instruct", remat="full"),
        data=DataConfig(train="runs/references/train", held_out="runs/references/held_out", row_length=8192, rows=16),
        optimizer=OptimizerConfig(learning_rate=1e-5),
        accumulate=2,
    )
