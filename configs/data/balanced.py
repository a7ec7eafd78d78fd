"""Paper B's training set from public data: scored answers in pairs, balanced over sources and intensities.

Command:   toolrm prepare config=data/balanced output=FOLDER data.folder=FOLDER [run.workers=2]
Hardware:  two CPU cores, 2 GiB of memory
Follows:   Towards Agentic Tool-Use Reward Modeling (arXiv 2510.26167), section 3. The paper's five samplers are not
           public; rules stand in, and published answers to BFCL with data.answers=FOLDER.
"""

from toolrm_jax.commands.prepare_pairs import BalancedConfig


def config() -> BalancedConfig:
    """The settings, all of them the recipe's own."""
    return BalancedConfig(output="runs/balanced")
