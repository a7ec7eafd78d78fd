"""Wrong calls of real models beside made ones, on Qwen2.5-Coder-0.5B-Instruct cut for a CPU.

Command:   toolrm quickstart config=qwen2p5_coder_0p5b_cpu prepare.train.answers=FOLDER [model=FOLDER] [pairs=FILE]
           FOLDER holds models' published answers to BFCL's questions, as BFCL's own result files have them
Hardware:  two CPU cores, 24 GiB of memory (16 GiB at most in training, 22 where a run was resumed)
Time:      measured: 31 min for the steps (15 s each), 5 for judging 300 real pairs under the model
Expect:    one run, seed 0: 76.3 (71.2 to 80.8) % of 300 real non-live pairs, where the untrained backbone's likelihood
           gives 73.7 (mean) and 73.0 (sum), the hand rule 81.0
"""

import chz

from toolrm_jax.commands.prepare import LIVE, RecipeConfig, SideConfig
from toolrm_jax.commands.quickstart import Config
from toolrm_jax.configs import quickstart
from toolrm_jax.train.config import ModelConfig
from toolrm_jax.train.optimizer import OptimizerConfig


def config() -> Config:
    """The quickstart's recipe with three of a group's six wrong answers taken from models."""
    base = quickstart.config()
    train = SideConfig(
        categories=LIVE,
        no_call=0.1,
        makers="all",
        recipe=RecipeConfig(
            right=2, mistakes=3, real_right=1, real_wrong=3, joined=0.4, max_tools=2, max_characters=3500
        ),
    )
    return chz.replace(
        base,
        output="runs/qwen2p5_coder_0p5b_cpu",
        model="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        prepare=chz.replace(base.prepare, train=train, any_licence=True),
        train=chz.replace(
            base.train,
            # The quickstart's proportions: two thirds of the way up, a quarter of the layers trained.
            model=ModelConfig(path="", layers=18, frozen_layers=12, compute_dtype="float32"),
            optimizer=OptimizerConfig(learning_rate=5e-5, warmup=0.06),
            steps=110,
            evaluate_every=55,
            save_every=10,
        ),
    )
