"""Which models' answers may train: the licence of the weights, as data.

Paper A samples from permissively licensed open-weight models only (section 3), and so is the default here. A model's
name is looked up by its family; one that no line names counts as closed, so nothing trains by oversight.
"""

from __future__ import annotations

import enum
import re

from toolrm_jax.errors import ConfigError

REFUSED = "answers of models that may not train"
PERMISSIVE = ("Apache-2.0", "MIT")


class Makers(enum.StrEnum):
    """Whose answers are taken."""

    PERMISSIVE = "permissive"
    OPEN = "open"
    ALL = "all"


_OPEN_WEIGHTS = (
    (r"gpt-?oss", "Apache-2.0"),
    (r"qwen2\.?5-(3b|72b)", "Qwen"),
    (r"qwen|qwq", "Apache-2.0"),
    (r"smollm", "Apache-2.0"),
    (r"granite", "Apache-2.0"),
    (r"hermes-2-pro-mistral|mistral-7b|mistral-nemo|mixtral|open-mistral", "Apache-2.0"),
    (r"hermes|llama", "Llama Community"),
    (r"deepseek-(r1|v3)", "MIT"),
    (r"deepseek", "DeepSeek"),
    (r"functionary-(small-v2|medium-v2)", "MIT"),
    (r"functionary|firefunction-v2", "Llama Community"),
    (r"firefunction-v1", "Apache-2.0"),
    (r"gorilla-openfunctions", "Apache-2.0"),
    (r"arctic", "Apache-2.0"),
    (r"phi-", "MIT"),
    (r"nexusflow|raven", "CC-BY-NC-4.0"),
    (r"xlam", "CC-BY-NC-4.0"),
    (r"command-r|c4ai", "CC-BY-NC-4.0"),
    (r"mistral-large-24", "Mistral Research"),
    (r"gemma", "Gemma"),
    (r"dbrx", "Databricks Open Model"),
    (r"glm-4", "GLM-4"),
    (r"nemotron-4", "NVIDIA Open Model"),
)
"""Name pattern (case-folded, first match counts) and licence of the weights."""
_PATTERNS = tuple((re.compile(pattern), licence) for pattern, licence in _OPEN_WEIGHTS)


def parse_makers(text: str, name: str) -> Makers:
    """Whose answers are taken, from the setting `name`. Raises ConfigError."""
    try:
        return Makers(text)
    except ValueError:
        raise ConfigError(f"{name}={text}: say {', '.join(Makers)}") from None


def weights_licence(maker: str) -> str | None:
    """The licence of a model's weights, None where they are not open or the model is not known."""
    name = maker.removeprefix("model:").casefold()
    return next((licence for pattern, licence in _PATTERNS if pattern.search(name)), None)


def may_train(maker: str, allowed: Makers = Makers.PERMISSIVE) -> bool:
    """Whether this maker's answers may be taken: references and rules always, models by their weights' licence."""
    if not maker.startswith("model:") or allowed is Makers.ALL:
        return True
    licence = weights_licence(maker)
    return licence is not None and (allowed is Makers.OPEN or licence in PERMISSIVE)
