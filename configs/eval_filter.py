"""Half of a training set, chosen by a reward model, to train a policy on (arXiv 2509.11963: 8K of 16K beat all 16K).

Command:   toolrm filter config=eval_filter model=FOLDER
           toolrm train config=policy_sft_1p5b data.train=runs/filtered/top output=runs/policy_top
           the same for random and all; then sample with each policy and judge: toolrm eval benchmark=best-of-n:FOLDER
           toolrm report path=runs/eval_top,runs/eval_random,runs/eval_all
Hardware:  as for scoring; training as policy_sft_1p5b says
Follows:   the paper names neither the training set nor its settings; both are our choice
"""

from toolrm_jax.commands.filter import Config


def config() -> Config:
    """The better half of the references that `toolrm prepare config=data/outcome` wrote."""
    return Config(groups="runs/references", output="runs/filtered")
