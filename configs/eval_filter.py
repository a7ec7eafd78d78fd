"""Half of a training set, chosen by a reward model, to train a policy on (arXiv 2509.11963: 8K of 16K beat all 16K).

Command:   toolrm prepare config=data/outcome output=runs/references obfuscated=false data.folder=FOLDER
           toolrm filter policies config=eval_filter filter.model=FOLDER
Hardware:  three runs of policy_sft_1p5b, one after the other, and four models' answers to 1,351 questions
Time:      not measured
Expect:    not measured; one table: the policy before, and trained on the best half, on a random half, on all
Follows:   the paper names neither the training set nor its settings; both are our choice, and so are the contexts
"""

import chz

from toolrm_jax.commands.filter import Config as FilterConfig
from toolrm_jax.commands.filter_policies import Config
from toolrm_jax.commands.synth import Config as SynthConfig
from toolrm_jax.commands.synth import SamplingConfig
from toolrm_jax.commands.synth_models import ModelConfig
from toolrm_jax.configs import policy_sft_1p5b


def config() -> Config:
    """The references that `toolrm prepare` wrote; greedy answers to BFCL's live questions."""
    policy = policy_sft_1p5b.config()
    return Config(
        output="runs/filtered",
        filter=FilterConfig(groups="runs/references", output=""),
        train=chz.replace(policy, output="", data=chz.replace(policy.data, train="")),
        answers=SynthConfig(
            output="",
            models=(ModelConfig(name="policy", samples=1),),
            sources=("bfcl/live",),
            sampling=SamplingConfig(temperature=0.0),
        ),
    )
