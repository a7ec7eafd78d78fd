"""Paper B's discriminative reward model: Qwen3-4B-Instruct-2507 on 29,500 balanced pairs of scored answers.

Command:   toolrm prepare config=data/balanced data.folder=FOLDER
           toolrm train config=toolrm_b_disc_4b
Hardware:  topology=v6e:2x4, that is 8 TPU v6e chips, or 8 GPUs of 80 GB as the paper's
Time:      an estimate: 7 minutes for 48 million tokens, at 40 % of the chips' peak (20 on 8 A100); not measured
Expect:    not measured
Follows:   Towards Agentic Tool-Use Reward Modeling (arXiv 2510.26167), section 3, and its script: learning rate 4e-6,
           two epochs, AdamW (0.9, 0.95) without decay, cosine to a tenth, 3 % warm-up, gradients clipped at 1,
           bfloat16, no centring. The script's batch is 256 pairs; rows are filled with whole groups here, on the mean
           240 pairs a step. Its longest text is 16,384 tokens; rows of 8,192 left out none of 3,731 groups drawn from
           this data. Its loss is a mean over pairs, ours one over groups, which have two pairs on the mean.
"""

from toolrm_jax.train.config import DataConfig, ModelConfig, TrainConfig
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.optimizer import OptimizerConfig


def config() -> TrainConfig:
    """The script's settings; three rows a chip, one after the other."""
    return TrainConfig(
        output="runs/toolrm_b_disc_4b",
        model=ModelConfig(path="Qwen/Qwen3-4B-Instruct-2507", remat="full"),
        data=DataConfig(
            train="runs/balanced/train",
            held_out="runs/balanced/held_out",
            row_length=8192,
            slots=128,
            rows=24,
            epochs=2,
        ),
        optimizer=OptimizerConfig(learning_rate=4e-6, warmup=0.03, final=0.1, beta1=0.9, beta2=0.95, clip=1.0),
        loss=LossWeights(centring=0.0),
        seed=42,
        accumulate=3,
    )
