"""YAML as OpenAPI wants it: version 1.2's core schema, whose values are those of JSON (yaml.org/spec/1.2.2, 10.3).

PyYAML reads version 1.1, where `no` and `on` are booleans, `010` is eight and `2024-01-01` a date.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    "merge": (r"<<", ["<"]),  # of 1.1, but what people write
}
"""By tag: what a plain word must look like, and the characters it may begin with. No infinities, which JSON lacks."""


def load_yaml(text: str) -> Any:
    """The document's value: dicts, lists, texts, numbers, booleans, None. Raises yaml.YAMLError."""
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """Safe, and knows the tags of JSON's values alone."""

    yaml_implicit_resolvers: ClassVar = {}
    yaml_constructors: ClassVar = {}


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


for _name, (_words, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_words})\Z"), _first)
for _name in ("null", "bool", "float", "str", "seq", "map"):
    _Loader.add_constructor(_TAG + _name, yaml.SafeLoader.yaml_constructors[_TAG + _name])
_Loader.add_constructor(_TAG + "int", _integer)
_Loader.add_constructor(None, yaml.SafeLoader.construct_undefined)  # dates, sets and bytes, which JSON lacks
