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
from toolrm_jax.train.head_fit import HeadFit
from toolrm_jax.train.loss import LossWeights
from toolrm_jax.train.optimizer import OptimizerConfig


def config() -> Config:
    """The settings; paths left empty follow from `output`."""
    return Config(
        output="runs/quickstart",
        model="smollm2-135m",
        prepare=PrepareConfig(
            output="",
            # Joined tasks stand for most of the training groups: without them, made mistakes mostly add calls, and the
            # model learns that fewer are better. Two tools and eight answers a group: most of what is learned comes
            # from comparing answers, most of the cost is the context. Two right answers: right ones differ too.
            train=SideConfig(
                categories=LIVE,
                no_call=0.05,
                recipe=RecipeConfig(right=2, mistakes=6, joined=0.75, max_tools=2, max_characters=3500),
            ),
            held_out=SideConfig(
                categories=NON_LIVE, no_call=0.05, recipe=RecipeConfig(mistakes=2, joined=0.0, max_characters=3000)
            ),
        ),
        train=TrainConfig(
            output="",
            # How likely each token was, and whether the answer is still right, are read best by a linear probe in
            # layer 20 of 30; so the layers above 22 are cut off, and those from 17 on are trained.
            # A CPU's matrix products are not faster in bfloat16. Two groups seldom fit a row of 2,048 tokens (padding
            # 17 %), but one of 2,304 (4 %).
            model=ModelConfig(path="", layers=22, frozen_layers=16, compute_dtype="float32"),
            data=DataConfig(train="", held_out="", row_length=2304, slots=48, rows=2, epochs=1, held_out_groups=24),
            head_fit=HeadFit(steps=8),
            optimizer=OptimizerConfig(learning_rate=4e-4, warmup=0.06),
            loss=LossWeights(token_error=0.3),
            steps=120,
            evaluate_every=50,
            save_every=30,
        ),
        judged_groups=120,
        judged_pairs=150,
    )
