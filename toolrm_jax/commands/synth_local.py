"""A model that answers in this process: what ends its answers, how much of them is written at a time, and its weights,
which are read when it is asked, not when it is planned with.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import chz

from toolrm_jax.commands import settings
from toolrm_jax.errors import ConfigError, ModelError
from toolrm_jax.synth.protocol import Asked, Outcome, Sampling

if TYPE_CHECKING:
    from toolrm_jax.data.chat import Chat


@chz.chz
class LimitsConfig:
    """How large a batch may be of models that answer in this process: `toolrm_jax.synth.generate.Limits`.

    Answers do not depend on it.
    """

    rows: int = 128  # answers at a time
    cache_gib: float = 4.0  # of keys and values; a context that needs more alone is recorded as failed
    chunk: int = 128  # tokens of a context read at a time
    steps: int = 1  # tokens written between two looks at what has ended
    wave: int = 512  # contexts that are sorted by length together

    def check(self) -> None:
        """Raises ConfigError for what is no size."""
        for name, value in settings.as_json(self).items():
            if not value > 0:
                raise ConfigError(f"limits.{name}={value}: give more than 0")


def ends(folder: Path, chat: Chat) -> tuple[int, ...]:
    """The tokens that end an answer: the template's end-of-turn token, and those that the model's own settings name.

    Of Llama 3.1 these are three, of Qwen2.5 two: a model that stops by another one than the template's has stopped.
    Raises ModelError where `generation_config.json` is damaged.
    """
    file = folder / "generation_config.json"
    try:
        named = json.loads(file.read_bytes()).get("eos_token_id")
    except FileNotFoundError:
        named = None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{file}: cannot be read as a JSON object ({error}); mend or remove it") from None
    tokens = [named] if isinstance(named, int) else named or []
    if not isinstance(tokens, list) or not all(type(one) is int and 0 <= one < chat.vocab_size for one in tokens):
        raise ModelError(f"{file}: eos_token_id is {named!r}, expected token ids; mend or remove it")
    return tuple(dict.fromkeys([chat.end_of_turn_id, *sorted(tokens)]))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LocalSampler:
    """The model of a Hugging Face folder. In bfloat16 on accelerators, in float32 on a CPU, which is no slower so."""

    folder: Path
    chat: Chat
    limits: LimitsConfig

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
        from toolrm_jax.synth.generate import Limits
        from toolrm_jax.synth.generate_sampler import InProcess

        if (first := next(asked := iter(asked), None)) is None:
            return  # all is answered already: no need of the weights
        use_all_cores()
        model, _ = load_model(self.folder)
        dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        sampler = InProcess(decoder(model, dtype), self.chat.decode, Limits(**settings.as_json(self.limits)))
        del model
        sampler.run(itertools.chain([first], asked), options, record, stopped)
