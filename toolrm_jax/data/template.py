"""A model's chat template, rendered as transformers renders it, but the same on every day and without torch."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from toolrm_jax.errors import DataError, ModelError

# Templates that write today's date get this one, so that the same context always has the same tokens.
_DATE = datetime.datetime(2024, 7, 26)

_PROBE_TOOL = {
    "type": "function",
    "function": {"name": "probe_tool", "description": "", "parameters": {"type": "object", "properties": {}}},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """A chat template's Jinja source and the special tokens it may name (`bos_token` and the like)."""

    source: str
    tokens: Mapping[str, str]

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = (), **options: bool
    ) -> str:
        """The conversation as text, without a generation prompt unless `add_generation_prompt=True` is among `options`.

        Messages and tools are plain dicts in OpenAI's form, options what the template itself looks at, such as
        `enable_thinking`. Raises DataError where the template refuses them.
        """
        from jinja2 import TemplateError

        known = {"messages": messages, "tools": tools or None, "add_generation_prompt": False}
        try:
            return _compiled(self.source).render({**self.tokens, **known, **options})
        except (TemplateError, TypeError, ValueError, LookupError, RecursionError) as error:
            why = " ".join(str(error).split())
            raise DataError(f"the model's chat template cannot write this conversation ({why[:200]})") from error

    def knows_tools(self) -> bool:
        """Whether tools given to the template show in its text."""
        try:
            return "probe_tool" in self.render([{"role": "user", "content": "probe"}], [_PROBE_TOOL])
        except DataError:
            return False


def chatml_tools() -> str:
    """The source of our own tool template for ChatML models, of the form that Qwen's has."""
    return resources.files("toolrm_jax.data").joinpath("tools_chatml.jinja").read_text(encoding="utf-8")


@functools.lru_cache(maxsize=16)
def _compiled(source: str) -> Any:
    from jinja2 import TemplateError, TemplateSyntaxError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the model writes; here it is rendered as if the tag were not there."""

        tags = frozenset({"generation"})

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _DATE.strftime
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise ModelError(
            f"the model's chat template is not valid Jinja: {error.message} (line {error.lineno})"
        ) from None


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers' templates write it: unlike Jinja's own filter, without HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
