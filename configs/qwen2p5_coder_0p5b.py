"""The whole path from Qwen2.5-Coder-0.5B-Instruct, for one GPU or TPU host.

Command:   toolrm quickstart config=qwen2p5_coder_0p5b [model=FOLDER] [pairs=FILE]
Hardware:  one accelerator with 24 GiB or more; without a hub give model= a local folder or GGUF file
Time:      not measured yet
Expect:    not measured yet; the bar is the likelihood under the untrained backbone, which the report shows beside it
"""

import chz

from toolrm_jax.commands.prepare import LIVE, NON_LIVE, RecipeConfig, SideConfig
from toolrm_jax.commands.quickstart import Config
from toolrm_jax.configs import quickstart
from toolrm_jax.train.config import DataConfig, ModelConfig
from toolrm_jax.train.optimizer import OptimizerConfig


def config() -> Config:
    """The quickstart's data; every layer trained, in bfloat16, on long rows."""
    base = quickstart.config()
    return chz.replace(
        base,
        output="runs/qwen2p5_coder_0p5b",
        model="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        prepare=chz.replace(
            base.prepare,
            train=SideConfig(categories=LIVE, no_call=0.2, recipe=RecipeConfig(right=2, mistakes=6, joined=0.4)),
            held_out=SideConfig(categories=NON_LIVE, no_call=0.2, recipe=RecipeConfig(joined=0.0)),
        ),
        train=chz.replace(
            base.train,
            model=ModelConfig(path="", frozen_layers=0, compute_dtype="bfloat16", remat="full"),
            data=DataConfig(train="", held_out="", row_length=4096, slots=64, rows=8, epochs=3),
            optimizer=OptimizerConfig(learning_rate=1e-5),
            evaluate_every=50,
            save_every=100,
            steps=None,
        ),
        judged_groups=None,
        judged_pairs=None,
        export_dtype="bfloat16",
    )
