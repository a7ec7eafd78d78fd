"""The whole path from Qwen3-0.6B, for one GPU or TPU host.

Command:   toolrm quickstart config=qwen3_0p6b [model=FOLDER] [pairs=FILE]
Hardware:  one accelerator with 24 GiB or more; without a hub give model= a local folder or GGUF file
Time:      not measured yet
Expect:    not measured yet; the bar is the likelihood under the untrained backbone, which the report shows beside it
"""

import chz

from toolrm_jax.commands.quickstart import Config
from toolrm_jax.configs import qwen2p5_coder_0p5b


def config() -> Config:
    """All but the backbone is as for Qwen2.5-Coder-0.5B."""
    return chz.replace(qwen2p5_coder_0p5b.config(), output="runs/qwen3_0p6b", model="Qwen/Qwen3-0.6B")
