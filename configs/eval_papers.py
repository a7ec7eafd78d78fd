"""Both papers' benchmarks, and what shows loss of general skill, with a model of yours.

Command:   toolrm eval config=eval_papers model=FOLDER output=FOLDER
Hardware:  any accelerator; on a CPU say max_pairs=200
Reads:     the published data sets from the Hugging Face hub
Follows:   arXiv 2509.11963 section 2 (FC-RewardBench), arXiv 2510.26167 section 4 (TRBench-BFCL), RewardBench and
           RewardBench 2 with their own scoring. Published rows stand beside ours where they measured the same
"""

from toolrm_jax.commands.eval import Config


def config() -> Config:
    """Every pair of every benchmark."""
    return Config(
        output="runs/eval_papers",
        benchmark=("fc-rewardbench", "trbench", "rewardbench", "rewardbench2"),
        compute_dtype="bfloat16",
    )
