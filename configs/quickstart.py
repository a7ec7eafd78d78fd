"""The quickstart: SmolLM2-135M on BFCL live tasks with made mistakes, judged on non-live ones.

Command:   toolrm quickstart [pairs=FILE]
Hardware:  two CPU cores, 8 GiB of memory
Time:      about fifteen minutes
Expect:    82 % or more on made mistakes of held-out tasks; for real wrong calls see the report
"""

from toolrm_jax.commands.prepare import LIVE, NON_LIVE, RecipeConfig, SideConfig
from toolrm_jax.commands.prepare import Config as PrepareConfig
from toolrm_jax.commands.quickstart import Config
from toolrm_jax.train.config import DataConfig, ModelConfig, TrainConfig
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.optimizer import OptimizerConfig


def config() -> Config:
    """The settings; paths left empty follow from `output`."""
    return Config(
        output="runs/quickstart",
        model="smollm2-135m",
        prepare=PrepareConfig(
            output="",
            train=SideConfig(categories=LIVE, recipe=RecipeConfig(mistakes=3, joined=0.4, max_tools=4)),
            held_out=SideConfig(categories=NON_LIVE, recipe=RecipeConfig(mistakes=3, joined=0.0)),
        ),
        train=TrainConfig(
            output="",
            # The lower two thirds and the embedding stay as they are: most of a step's cost, little of its gain.
            # A CPU's matrix products are not faster in bfloat16.
            model=ModelConfig(path="", frozen_layers=20, compute_dtype="float32"),
            data=DataConfig(train="", held_out="", row_length=1024, slots=32, rows=2, epochs=1, held_out_groups=96),
            optimizer=OptimizerConfig(learning_rate=1e-4, head_multiplier=10.0, warmup=0.05),
            loss=LossWeights(token_error=0.5),
            evaluate_every=100,
            save_every=50,
        ),
        judged_groups=400,
    )
