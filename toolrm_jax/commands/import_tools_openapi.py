"""Tools of an OpenAPI 3 description: one for each operation, its parameters and the fields of its body together.

References are written out where they stand; one that leads back to itself becomes a `$defs` entry of the tool.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.types import Tool

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
BODY = "body"
"""The parameter that holds a request's body where its fields cannot stand among the others."""
NOT_SCHEMA = ("example", "xml", "externalDocs", "discriminator", "nullable")
"""Fields that OpenAPI adds to JSON Schema, and that say nothing about a call; `nullable` is rewritten."""
_NOT_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def openapi_tools(path: Path) -> list[Tool]:
    """The tools of a file. Raises DataError where it is no OpenAPI 3 description or has no operations."""
    document = read_document(path)
    version = document.get("openapi")
    if not isinstance(version, str) or not version.startswith("3."):
        raise DataError(
            f"{path}: no OpenAPI 3 description (openapi={json.dumps(version)}); convert one of version 2 first"
        )
    tools = []
    for where, method, item, operation in operations(document):
        try:
            tools.append(tool_of(document, where, method, item, operation))
        except DataError as error:
            raise DataError(f"{path}: {method.upper()} {where}: {error}") from None
    if not tools:
        raise DataError(f"{path}: has no operations; give a description with paths")
    return tools


def read_document(path: Path) -> dict[str, Any]:
    """The file's JSON or YAML object."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give an OpenAPI file") from None
    try:
        if text.lstrip().startswith("{"):
            found = json.loads(text)
        else:
            from toolrm_jax.commands.import_tools_yaml import load_yaml

            found = load_yaml(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); mend it") from None
    except Exception as error:  # YAML's own errors; the module is not imported where the file is JSON
        raise DataError(f"{path}: not YAML ({' '.join(str(error).split())}); mend it") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: no OpenAPI description: no object; give another file")
    return found


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping, Mapping]]:
    """(path, method, path item, operation) in the order of the file."""
    paths = document.get("paths")
    for where, item in paths.items() if isinstance(paths, Mapping) else ():
        for method, operation in item.items() if isinstance(item, Mapping) else ():
            if method in METHODS and isinstance(operation, Mapping):
                yield str(where), method, item, operation


def tool_of(document: Mapping, where: str, method: str, item: Mapping, operation: Mapping) -> Tool:
    """One operation as a tool. Of two parameters of one name the operation's own stands; Raises DataError."""
    called = operation.get("operationId") or f"{method} {where.strip('/')}"
    name = _NOT_NAME.sub("_", str(called)).strip("_")
    texts = [operation.get("summary") or item.get("summary"), operation.get("description") or item.get("description")]
    description = "\n".join(dict.fromkeys(str(text).strip() for text in texts if text))
    writer = _Schemas(document)
    properties: dict[str, Any] = {}
    required: list[str] = []
    listed = [*_list(item, "parameters"), *_list(operation, "parameters")]
    for entry in map(writer.resolved, listed):
        key = entry.get("name")
        if not isinstance(key, str) or entry.get("in") == "cookie":
            continue
        properties[key] = _described(writer.schema(_content(entry)), entry.get("description"))
        required = [each for each in required if each != key] + ([key] if entry.get("required") else [])
    body = writer.resolved(operation.get("requestBody") or {})
    if body.get("content"):
        _add_body(properties, required, writer.schema(_content(body)), body)
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    if writer.definitions:
        parameters["$defs"] = writer.definitions
    return Tool(name, description, parameters)


def _add_body(properties: dict[str, Any], required: list[str], schema: dict[str, Any], body: Mapping) -> None:
    """Put a body's fields among the parameters, or the body as a whole where they would clash or it is no object."""
    fields = schema.get("properties")
    if isinstance(fields, dict) and fields and not set(fields) & set(properties):
        properties.update(fields)
        if body.get("required"):
            required += [name for name in schema.get("required", ()) if name in fields]
        return
    name = BODY if BODY not in properties else "request_body"
    properties[name] = _described(schema, body.get("description"))
    if body.get("required"):
        required.append(name)


def _content(entry: Mapping) -> Any:
    """The schema of a parameter or body: its own, or that of its first media type, JSON before others."""
    if isinstance(entry.get("schema"), Mapping):
        return entry["schema"]
    content = entry.get("content")
    if not isinstance(content, Mapping):
        return {}
    media = next((kind for kind in content if "json" in str(kind)), next(iter(content), None))
    found = content.get(media)
    return found.get("schema", {}) if isinstance(found, Mapping) else {}


def _described(schema: dict[str, Any], description: Any) -> dict[str, Any]:
    return {"description": str(description)} | schema if description and "description" not in schema else schema


def _list(entry: Mapping, name: str) -> list[Any]:
    found = entry.get(name)
    return found if isinstance(found, list) else []


class _Schemas:
    """Writes references out; `definitions` gathers those that lead back to themselves."""

    def __init__(self, document: Mapping) -> None:
        self.document, self.definitions = document, {}
        self.inside: list[str] = []
        self.recursive: set[str] = set()

    def resolved(self, entry: Any) -> Mapping[str, Any]:
        """What a possible reference stands for. Raises DataError where it leads nowhere."""
        for _ in range(32):
            if not (isinstance(entry, Mapping) and isinstance(entry.get("$ref"), str)):
                return entry if isinstance(entry, Mapping) else {}
            entry = self._target(entry["$ref"])
        raise DataError("references that lead to each other; mend them")

    def schema(self, value: Any) -> Any:
        """The schema without references to the document, and without OpenAPI's own fields."""
        if isinstance(value, list):
            return [self.schema(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str):
            return self._written_out(reference)
        found = {
            key: {name: self.schema(inner) for name, inner in item.items()}
            if key in ("properties", "patternProperties") and isinstance(item, Mapping)
            else item
            if key in ("enum", "const", "default", "examples", "required")
            else self.schema(item)
            for key, item in value.items()
            if key not in NOT_SCHEMA
        }
        if value.get("nullable") is True and isinstance(found.get("type"), str):
            found["type"] = [found["type"], "null"]
        for limit, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):  # OpenAPI 3.0: a flag
            if isinstance(found.get(limit), bool) and (found.pop(limit)) and bound in found:
                found[limit] = found.pop(bound)
        return found

    def _written_out(self, reference: str) -> dict[str, Any]:
        name = reference.rpartition("/")[2]
        if reference in self.inside:
            self.recursive.add(reference)
            return {"$ref": f"#/$defs/{name}"}
        self.inside.append(reference)
        found = self.schema(self._target(reference))
        self.inside.pop()
        if reference in self.recursive:
            self.definitions[name] = found
            return {"$ref": f"#/$defs/{name}"}
        return found

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise DataError(f"the reference {reference!r} leads out of the file; bundle it into one file first")
        found: Any = self.document
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                raise DataError(f"the reference {reference!r} leads nowhere; mend it")
            found = found[key]
        return found
