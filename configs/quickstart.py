"""The quickstart: SmolLM2-135M on BFCL live tasks with made mistakes, judged on non-live ones.

Command:   toolrm quickstart [pairs=FILE]
Hardware:  two CPU cores, 8 GiB of memory
Time:      about fifteen minutes
Expect:    see the report; it stands beside baselines that need no training
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
            # Short groups: a step's cost is its tokens, and what is learned goes by the number of groups. Joined tasks
            # stand for most of them at first, since fewer of these are short; without them, made mistakes mostly add
            # calls, and the model learns that fewer are better.
            train=SideConfig(
                categories=LIVE,
                no_call=0.05,
                recipe=RecipeConfig(mistakes=4, joined=0.75, max_tools=2, max_characters=2000),
            ),
            held_out=SideConfig(
                categories=NON_LIVE, no_call=0.05, recipe=RecipeConfig(mistakes=2, joined=0.0, max_characters=3000)
            ),
        ),
        train=TrainConfig(
            output="",
            # The lower 16 of 30 layers cost half as much per token as all of them, and did no worse in short trials;
            # the lower half of these and the embedding stay as they are.
            # A CPU's matrix products are not faster in bfloat16.
            model=ModelConfig(path="", layers=16, frozen_layers=8, compute_dtype="float32"),
            data=DataConfig(train="", held_out="", row_length=1280, slots=32, rows=2, epochs=1, held_out_groups=24),
            optimizer=OptimizerConfig(learning_rate=1.5e-4, head_multiplier=3.0, warmup=0.1),
            loss=LossWeights(token_error=1.0),
            steps=64,
            evaluate_every=32,
            save_every=16,
        ),
        judged_groups=80,
        judged_pairs=150,
    )
