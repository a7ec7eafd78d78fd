"""A model that answers in this process: its weights are read when it is asked, not when it is planned with."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from toolrm_jax.synth.protocol import Asked, Outcome, Sampling

if TYPE_CHECKING:
    from toolrm_jax.data.chat import Chat


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LocalSampler:
    """The model of a Hugging Face folder. In bfloat16 on accelerators, in float32 on a CPU, which is no slower so."""

    folder: Path
    chat: Chat

    def run(
        self,
        asked: Iterable[Asked],
        options: Sampling,
        record: Callable[[Outcome], None],
        stopped: Callable[[], bool],
    ) -> None:
        """See `toolrm_jax.synth.protocol.Sampler`."""
        import jax
        import jax.numpy as jnp

        from toolrm_jax.models.decode import decoder
        from toolrm_jax.models.folder import load_model
        from toolrm_jax.parallel.mesh import use_all_cores
        from toolrm_jax.synth.generate_sampler import InProcess

        if (first := next(asked := iter(asked), None)) is None:
            return  # all is answered already: no need of the weights
        use_all_cores()
        model, _ = load_model(self.folder)
        dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        sampler = InProcess(decoder(model, dtype), self.chat.decode)
        del model
        sampler.run(itertools.chain([first], asked), options, record, stopped)
