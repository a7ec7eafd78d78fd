"""The one kind of error a user can cause: a single line that says what, where, and the way out."""

import re

_SHOWN = 200


class ToolrmError(Exception):
    """Something the user can mend. `toolrm` prints its one line and exits with code 2, without a traceback."""


class DataError(ToolrmError):
    """A file or record that is missing, malformed, or of the wrong kind."""


class ConfigError(ToolrmError):
    """A setting that is unknown, of the wrong type, or at odds with another."""


class ModelError(ToolrmError):
    """A model folder, checkpoint or weight file that cannot be used as asked."""


class TooLongError(ModelError):
    """A server's refusal of what is longer than its model reads; of all it is asked, only this one thing fails."""


_TOO_LONG = re.compile(
    r"context[ _]?(length|size|window)|n_ctx|max\w*[ _](model|context|input|prompt)?[ _]?len|longer than|too long|"
    r"reduce the length|exceeds the (limit|maximum)",
    re.IGNORECASE,
)
"""How OpenAI, vLLM, SGLang, TGI and llama.cpp say it, each in its own words."""


def refusal(address: str, status: int, said: str, way_out: str = "") -> ModelError:
    """The error for an HTTP status other than success: a TooLongError where that is what the server says."""
    too_long = status == 413 or (status in (400, 422) and _TOO_LONG.search(said) is not None)
    text = " ".join(said.split())
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return (TooLongError if too_long else ModelError)(f"{address}: answers {status} ({text}){way_out}")
