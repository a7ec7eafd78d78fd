"""From `key=value` words to a command's typed config: base config, bindings file, command line, in that order."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import json
import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import chz
from chz.blueprint import Blueprint, ExtraneousBlueprintArg, InvalidBlueprintArg, MissingBlueprintArg
from chz.util import MISSING

import toolrm_jax.configs
from toolrm_jax.errors import ConfigError
from toolrm_jax.files import first_difference, plain, write_file

RESERVED = ("config", "bindings", "overwrite")
CONFIG_FILE = "config.json"
_PARAM = re.compile(r"provided for param '([^']+)'")
# A value is quoted, or ends where white space and `#` begin a comment.
_BINDING = re.compile(r"""\s*([\w.]+)\s*=\s*("[^"]*"|'[^']*'|[^'"\s].*?|)\s*(?:(?<=\s)#.*)?""")
_INDEX = re.compile(r"\.\d+(?=\.|$)")
_COMMENT = re.compile(r"^\s*(\w+)\s*:.*?\s#\s*(.+)$")


@dataclasses.dataclass(frozen=True, slots=True)
class Resolved:
    """A command's config, whether results made with another may be replaced, and how it differs from its base."""

    config: Any
    overwrite: bool
    difference: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One leaf of a config class: its dotted name, type as written, default (None: see `required`), and comment."""

    name: str
    type: str
    default: Any
    required: bool
    about: str


def resolve(command: str, kinds: type | tuple[type, ...], words: Sequence[str], base: str | None) -> Resolved:
    """The config from the command line's words. Raises ConfigError, in one line.

    `base` names the config that stands where no `config=` does. A command may take configs of several classes: which
    one it is the named config says, the first where none is named.
    """
    reserved, given = _sorted_out(words)
    name = reserved.get("config", base)
    start, kind = _start(name, kinds)
    if "bindings" in reserved:
        given = read_bindings(Path(reserved["bindings"])) + given
    known = [setting.name for setting in settings_of(kind)]
    for key, _ in given:
        _check_known(command, key, known)
    blueprint = Blueprint(kind)
    if start is not None:
        blueprint.apply(chz.beta_to_blueprint_values(start))
    try:
        blueprint.apply_from_argv([f"{key}={value}" for key, value in given], layer_name="the command line")
        config = blueprint.make()
    except InvalidBlueprintArg as error:
        found = _PARAM.search(str(error))
        key = found[1] if found else given[-1][0]
        value = dict(given).get(key, "")
        wanted = next((s.type for s in settings_of(kind) if s.name == key), "a section; name a setting in it")
        raise ConfigError(f"{key}={value}: expected {wanted}; see `toolrm {command} --help`") from None
    except MissingBlueprintArg as error:
        missing = str(error).partition(": ")[2]
        raise ConfigError(f"{command}: {missing} is not given; see `toolrm {command} --help`") from None
    except (ExtraneousBlueprintArg, ValueError, TypeError) as error:
        raise ConfigError(f"{command}: {str(error).splitlines()[0]}; see `toolrm {command} --help`") from None
    before = {s.name: s.default for s in settings_of(kind)} if start is None else leaves(start)
    changed = [f"  {key}={shown(value)}" for key, value in leaves(config).items() if before.get(key) != value]
    title = f"toolrm {command}" + (f", config {name}" if name else "") + (", with" if changed else "")
    return Resolved(config, _flag(reserved.get("overwrite", "false")), (title, *changed))


def load_config(name: str, kind: type | tuple[type, ...]) -> Any:
    """What `config()` of configs/NAME.py, or of the .py file at that path, returns: an object of class `kind`."""
    path = Path(name)
    names = config_names()
    if path.suffix == ".py" or ("/" in name and name not in names):
        spec = importlib.util.spec_from_file_location("toolrm_config_file", path) if path.is_file() else None
        if spec is None or spec.loader is None:
            raise ConfigError(f"config={name}: no such Python file")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"config={name}: {type(error).__name__}: {error}") from None
    else:
        if name not in names:
            raise ConfigError(f"config={name}: no such config; {nearest(name, names)}")
        module = importlib.import_module(f"toolrm_jax.configs.{name.replace('/', '.')}")
    if not callable(getattr(module, "config", None)):
        raise ConfigError(f"config={name}: it has no function config()")
    found = module.config()
    if not isinstance(found, kind) and hasattr(kind, "of_experiment"):
        found = kind.of_experiment(found) or found
    if not isinstance(found, kind):
        first = kind[0] if isinstance(kind, tuple) else kind
        theirs, ours = (some.__module__.rpartition(".")[2] for some in (type(found), first))
        raise ConfigError(f"config={name}: holds the settings of {theirs}, this command takes those of {ours}")
    return found


def config_folder() -> Path:
    """Where the named configs lie."""
    return Path(toolrm_jax.configs.__path__[0])


def config_names() -> list[str]:
    """The named configs; those in a folder of configs/ as FOLDER/NAME."""
    files = (file for file in config_folder().rglob("*.py") if file.stem != "__init__")
    return sorted(str(file.relative_to(config_folder()).with_suffix("").as_posix()) for file in files)


def read_bindings(path: Path) -> list[tuple[str, str]]:
    """The (name, value) of each line `a.b = value`; `#` starts a comment, quotes around a value are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"bindings={path}: cannot be read ({error})") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        binding = _BINDING.fullmatch(line)
        if not binding:
            raise ConfigError(f"{path}:{number}: {line.strip()!r} is no line of the form `a.b = value`")
        name, value = binding.groups()
        found.append((name, value[1:-1] if value[:1] in ("'", '"') else value))
    return found


def leaves(config: Any) -> dict[str, Any]:
    """Every setting of a config by its dotted name, as JSON values."""
    return dict(_flat(plain(chz.asdict(config)), ""))


def as_json(config: Any, *without: str) -> dict[str, Any]:
    """The config as nested JSON values, less the settings named (dotted): what a stage's card holds."""
    return _less(plain(chz.asdict(config)), without)


def from_json(kind: type, value: dict[str, Any]) -> Any:
    """The inverse of `as_json` for a whole config. Raises TypeError where the class and the value do not fit."""
    types = typing.get_type_hints(kind)
    parts = {}
    for name, item in value.items():
        hint = types.get(name)
        if chz.is_chz(hint):
            item = from_json(hint, item)
        parts[name] = tuple(item) if isinstance(item, list) else item
    return kind(**parts)


def save(config: Any, folder: Path, *without: str) -> None:
    """Write the whole config, but for the settings named (dotted), to `folder`/config.json."""
    write_file(folder / CONFIG_FILE, json.dumps(as_json(config, *without), indent=1) + "\n")


def _less(value: Any, without: Sequence[str], prefix: str = "") -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key: _less(item, without, f"{prefix}{key}.") for key, item in value.items() if f"{prefix}{key}" not in without
    }


def saved_difference(config: Any, folder: Path, *without: str) -> tuple[str, str, str] | None:
    """The first setting that differs from the config saved in `folder` (name, there, now), None where none does.

    without: settings (dotted) that may differ. One that an older version did not have stands at its default.
    """
    try:
        saved = json.loads((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / CONFIG_FILE}: cannot be read ({error}); name another folder") from None
    with contextlib.suppress(TypeError, AttributeError):  # of another class, or with settings that are no more
        saved = as_json(from_json(type(config), saved))
    return first_difference(_less(saved, without), as_json(config, *without))


def settings_of(kind: type, prefix: str = "") -> list[Setting]:
    """All settings of a chz class, nested ones by dotted names, in the order they are written."""
    types = typing.get_type_hints(kind)
    comments = _comments(kind)
    found = []
    for name, field in chz.chz_fields(kind).items():
        where, hint = prefix + name, types[name]
        if chz.is_chz(hint):
            found += settings_of(hint, f"{where}.")
            continue
        default = field._default if field._default_factory is MISSING else field._default_factory()
        required = default is MISSING
        found.append(
            Setting(where, _type_name(hint), None if required else plain(default), required, comments.get(name, ""))
        )
    return found


def help_text(command: str, kinds: type | tuple[type, ...], about: str, base: str | None, words: Sequence[str]) -> str:
    """The command's page: what it does, and every setting with its type, default and meaning."""
    reserved, _ = _sorted_out([word for word in words if word not in ("--help", "-h")])
    name = reserved.get("config", base)
    start, kind = _start(name, kinds)
    values = {} if start is None else leaves(start)
    rows = []
    for setting in settings_of(kind):
        value = values.get(setting.name, setting.default)
        default = "(required)" if setting.required and setting.name not in values else shown(value)
        rows.append((setting.name, setting.type, default, setting.about))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  " + "  ".join([*(part.ljust(width) for part, width in zip(row, widths)), row[3]]).rstrip() for row in rows
    ]
    title = f"Settings (as in config {name}):" if name else "Settings:"
    return "\n".join([f"toolrm {command} key=value …", "", about.strip(), "", title, *lines])


def _start(name: str | None, kinds: type | tuple[type, ...]) -> tuple[Any, type]:
    """The base config and its class; without a name the first class's own defaults, None where some must be given."""
    if name:
        found = load_config(name, kinds)
        return found, type(found)
    kind = kinds[0] if isinstance(kinds, tuple) else kinds
    fields = chz.chz_fields(kind).values()
    needed = any(field._default is MISSING and field._default_factory is MISSING for field in fields)
    return (None if needed else kind()), kind


def _sorted_out(words: Sequence[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The reserved words' values, and the other (name, value) in their order."""
    reserved: dict[str, str] = {}
    given = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise ConfigError(f"{word!r}: settings are written key=value")
        if key in RESERVED:
            reserved[key] = value
        else:
            given.append((key, value))
    return reserved, given


def _check_known(command: str, key: str, known: Sequence[str]) -> None:
    listed = _INDEX.split(key, maxsplit=1)[0]  # `models.0.name` is a setting of an entry of `models`
    if key in known or listed in known or any(name.startswith(f"{key}.") for name in known):
        return
    raise ConfigError(f"unknown setting {key!r}; {nearest(key, [*known, *RESERVED])}; see `toolrm {command} --help`")


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint: the name meant, judged by the whole name or else by its last part."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        last = {known.rpartition(".")[2]: known for known in names}
        close = [last[part] for part in difflib.get_close_matches(name.rpartition(".")[2], last, n=1, cutoff=0.6)]
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}"


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ConfigError(f"overwrite={text}: expected true or false")
    return text.lower() == "true"


def _flat(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{where}.{key}" if where else key)
    else:
        yield where, value


def shown(value: Any) -> str:
    """A value as it may be typed on the command line."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def _type_name(hint: Any) -> str:
    plain_class = isinstance(hint, type) and not typing.get_args(hint)
    return hint.__name__ if plain_class else str(hint).replace("NoneType", "None").replace("typing.", "")


def _comments(kind: type) -> dict[str, str]:
    """What is written behind `#` on each field's line: the one place where a setting is explained."""
    return {found[1]: found[2] for line in inspect.getsource(kind).splitlines() if (found := _COMMENT.match(line))}
