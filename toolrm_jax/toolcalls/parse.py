"""Text into calls, in the notations of all families (by name in formats.py).

No input raises, and time grows linearly with its length. A text is bounded: `SIZE_LIMIT` characters, `DEPTH_LIMIT`
nested brackets, integers of `DIGITS_LIMIT` digits (so each fits a float). NaN, Infinity, numbers beyond a float's
range, lone surrogates (UTF-8 has no such characters) and repeated keys (readers disagree on which one counts) are
faults.
"""

from toolrm_jax.toolcalls.parse_hermes import parse_hermes
from toolrm_jax.toolcalls.parse_marked import (
    parse_deepseek,
    parse_granite,
    parse_llama,
    parse_mistral,
    parse_unmarked,
    parse_xlam,
)
from toolrm_jax.toolcalls.parse_openai import parse_openai
from toolrm_jax.toolcalls.parse_python import parse_python
from toolrm_jax.toolcalls.parsed import DEPTH_LIMIT, DIGITS_LIMIT, SIZE_LIMIT, Parsed

__all__ = [
    "DEPTH_LIMIT",
    "DIGITS_LIMIT",
    "SIZE_LIMIT",
    "Parsed",
    "parse_deepseek",
    "parse_granite",
    "parse_hermes",
    "parse_llama",
    "parse_mistral",
    "parse_openai",
    "parse_python",
    "parse_unmarked",
    "parse_xlam",
]
