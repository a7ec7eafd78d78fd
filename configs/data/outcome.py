"""Paper A's training set from public data: the reference over up to three wrong answers, under random names.

Command:   toolrm prepare config=data/outcome output=FOLDER data.folder=FOLDER [run.workers=2]
Hardware:  two CPU cores, 2 GiB of memory
Follows:   Outcome Reward Models for Tool-Calling LLMs (arXiv 2509.11963), sections 2 and 3: 85 : 85 : 10 of
           single-turn, multi-turn and no-call tasks as far as they reach. Its 11 samplers are not public; rules
           stand in, and published answers to BFCL with data.answers=FOLDER. Nothing is shared with what the paper
           tests on: FC-RewardBench's questions, and those of its best-of-n runs (Hammer's test files, NexusRaven).
"""

from toolrm_jax.commands.prepare_pairs import TESTED_ON, DataConfig, OutcomeConfig


def config() -> OutcomeConfig:
    """The settings; few of the tasks without a call are looked at, as a tenth of the others is all that is drawn."""
    data = DataConfig(benchmarks=(*TESTED_ON, "hammer_tests", "nexusraven"))
    return OutcomeConfig(output="runs/outcome", data=data, no_call=0.15)
