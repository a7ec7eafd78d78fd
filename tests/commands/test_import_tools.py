"""`toolrm import-tools`: what an OpenAPI file, an MCP server and a Python module become, and what each refuses."""

import json
import sys
import textwrap

import pytest

from toolrm_jax.cli import main
from toolrm_jax.toolcalls.schema import violations
from toolrm_jax.toolcalls.types import Call, Tool

OPENAPI = {
    "openapi": "3.0.3",
    "info": {"title": "Pets", "version": "1"},
    "paths": {
        "/pets/{petId}": {
            "parameters": [{"name": "petId", "in": "path", "required": True, "schema": {"type": "integer"}}],
            "get": {"operationId": "getPet", "summary": "One pet", "responses": {}},
            "patch": {
                "summary": "Change a pet",
                "description": "Only what is given changes.",
                "parameters": [{"$ref": "#/components/parameters/Dry"}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
            },
        },
        "/trees": {
            "post": {
                "operationId": "plant tree",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}},
            }
        },
    },
    "components": {
        "parameters": {"Dry": {"name": "dryRun", "in": "query", "schema": {"type": "boolean"}, "description": "Try."}},
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "example": "Rex"},
                    "owner": {"type": "string", "nullable": True},
                    "example": {"type": "string"},
                    "age": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                },
            },
            "Node": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}}},
            },
        },
    },
}


def imported(tmp_path, **source):
    (name, value), output = *source.items(), tmp_path / "tools.json"
    assert main(["import-tools", f"{name}={value}", f"output={output}"]) == 0
    tools = json.loads(output.read_text())
    assert all(tool["type"] == "function" for tool in tools)
    return {tool["function"]["name"]: tool["function"] for tool in tools}


def test_an_operation_is_a_tool_with_its_parameters_and_its_bodys_fields(tmp_path):
    (tmp_path / "api.json").write_text(json.dumps(OPENAPI))
    tools = imported(tmp_path, openapi=tmp_path / "api.json")
    assert list(tools) == ["getPet", "patch_pets_petId", "plant_tree"]
    assert tools["getPet"]["description"] == "One pet"
    patch = tools["patch_pets_petId"]
    assert patch["description"] == "Change a pet\nOnly what is given changes."
    assert patch["parameters"] == {
        "type": "object",
        "properties": {
            "petId": {"type": "integer"},
            "dryRun": {"description": "Try.", "type": "boolean"},
            "name": {"type": "string"},
            "owner": {"type": ["string", "null"]},
            "example": {"type": "string"},
            "age": {"type": "integer", "exclusiveMinimum": 0},
        },
        "required": ["petId", "name"],
    }


def test_a_schema_that_holds_itself_still_checks_calls(tmp_path):
    (tmp_path / "api.json").write_text(json.dumps(OPENAPI))
    body = imported(tmp_path, openapi=tmp_path / "api.json")["plant_tree"]
    tool = Tool(body["name"], body["description"], body["parameters"])
    assert violations([tool], Call("plant_tree", {"body": {"children": [{"children": []}]}})) == []
    assert violations([tool], Call("plant_tree", {"body": {"children": [{"children": 3}]}})) != []


def test_yaml_is_read_as_json_is(tmp_path):
    yaml = pytest.importorskip("yaml")
    (tmp_path / "api.json").write_text(json.dumps(OPENAPI))
    (tmp_path / "api.yaml").write_text(yaml.safe_dump(OPENAPI, sort_keys=False))
    assert imported(tmp_path, openapi=tmp_path / "api.yaml") == imported(tmp_path, openapi=tmp_path / "api.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"paths": {}}, "has no operations"),
        ({"paths": {"/a": {"summary": "nothing"}}}, "has no operations"),
        ({"openapi": None, "swagger": "2.0"}, "no OpenAPI 3 description"),
        ({"components": {}}, "PATCH /pets/{petId}: the reference '#/components/parameters/Dry' leads nowhere"),
        ({"paths": {"/a": {"get": {"parameters": [{"$ref": "other.yaml#/x"}]}}}}, "leads out of the file"),
        ({"paths": {f"/{x}": {"get": {"operationId": "same"}} for x in "ab"}}, "two tools are called 'same'"),
        ({"paths": {"/a": {"get": {"operationId": "x" * 65}}}}, "a name is 1 to 64"),
        (
            {"paths": {"/a": {"get": {"parameters": [{"name": "a", "in": "query", "schema": {"type": "int"}}]}}}},
            "tool 'get_a': not a valid JSON Schema",
        ),
    ],
)
def test_a_description_that_gives_no_whole_tools_is_one_line_and_no_file(tmp_path, fails, change, says):
    (tmp_path / "api.json").write_text(json.dumps(OPENAPI | change))
    assert says in fails("import-tools", f"openapi={tmp_path / 'api.json'}", f"output={tmp_path / 'tools.json'}")
    assert not (tmp_path / "tools.json").exists()


@pytest.mark.parametrize(
    ("text", "says"), [("{", "not JSON"), ("a: [", "not YAML"), ("- 1", "no OpenAPI description"), (None, "cannot be")]
)
def test_a_file_that_cannot_be_read_is_told(tmp_path, fails, text, says):
    if text is not None:
        (tmp_path / "api").write_text(text)
    assert says in fails("import-tools", f"openapi={tmp_path / 'api'}")


SERVER = """
import json, sys
print("listening", file=sys.stderr, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize":
        print("a line of log on the wrong stream", flush=True)
        answer = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}}}
    elif asked["method"] == "tools/list":
        page = int(asked["params"].get("cursor", 0))
        tool = {"name": f"tool_{page}", "description": "D", "inputSchema": {"type": "object", "properties": {}}}
        answer = {"tools": [tool]} | ({"nextCursor": str(page + 1)} if page < 2 else {})
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer}), flush=True)
"""


def script(tmp_path, text):
    file = tmp_path / "server.py"
    file.write_text(textwrap.dedent(text))
    return f"{sys.executable} {file}"


def test_an_mcp_servers_tools_are_read_page_by_page(tmp_path):
    assert list(imported(tmp_path, mcp=script(tmp_path, SERVER))) == ["tool_0", "tool_1", "tool_2"]


def test_a_server_made_with_the_protocols_own_package_is_understood(tmp_path):
    pytest.importorskip("mcp.server")
    from importlib.metadata import version

    kind = "MCPServer" if int(version("mcp").split(".")[0]) >= 2 else "FastMCP"
    where = "mcpserver" if kind == "MCPServer" else "fastmcp"
    server = f"""
        from mcp.server.{where} import {kind}

        server = {kind}("weather")

        @server.tool()
        def forecast(city: str, days: int = 3) -> str:
            \"\"\"The weather of the next days.\"\"\"
            return "sunny"

        server.run("stdio")
    """
    (found,) = imported(tmp_path, mcp=script(tmp_path, server)).values()
    assert (found["name"], found["description"]) == ("forecast", "The weather of the next days.")
    assert found["parameters"]["properties"]["days"]["type"] == "integer"
    assert found["parameters"]["required"] == ["city"]


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("import sys; sys.exit('no licence key')", "ended with code 1 before it named its tools: no licence key"),
        ('import sys; sys.stdin.readline(); print(\'{"jsonrpc": "2.0", "id": 1,\', flush=True)', "ended with code 0"),
        ("import time; time.sleep(60)", "no answer to initialize in time"),
        (
            'import sys; sys.stdin.readline(); print(\'{"id": 1, "error": {"message": "go away"}}\', flush=True); '
            "sys.stdin.readline()",
            "refuses initialize (go away)",
        ),
    ],
)
def test_a_server_that_dies_hangs_or_refuses_is_one_line(tmp_path, fails, server, says):
    words = (f"mcp={script(tmp_path, server)}", "timeout=3", f"output={tmp_path / 'tools.json'}")
    assert says in fails("import-tools", *words)
    assert not (tmp_path / "tools.json").exists()


def test_a_command_that_is_not_there_is_told(fails):
    assert "mcp=no-such-program: does not start" in fails("import-tools", "mcp=no-such-program")


FUNCTIONS = '''
from typing import Literal

def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """The weather now.

    Args:
        city: Where.
        unit: Of the temperature.
    """
    raise RuntimeError("never called")

def _private(): ...
from json import dumps
'''


def test_a_modules_own_public_functions_are_tools(tmp_path):
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    (found,) = imported(tmp_path, functions=tmp_path / "mine.py").values()
    assert found["name"] == "weather"
    assert found["parameters"]["required"] == ["city"]
    assert found["parameters"]["properties"]["unit"]["enum"] == ["C", "F"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nothing_of_this_name", "does not import (ModuleNotFoundError"),
        ("def f(a): 'x'", "f: Argument a is missing a type hint"),
        ("x = 1", "holds no tool"),
    ],
)
def test_a_module_without_whole_functions_is_told(tmp_path, fails, text, says):
    (tmp_path / "mine.py").write_text(text)
    assert says in fails("import-tools", f"functions={tmp_path / 'mine.py'}")


def test_exactly_one_source_is_named(fails):
    assert "give one of openapi, mcp, functions; none is given" in fails("import-tools")
    assert "openapi and mcp is given" in fails("import-tools", "openapi=a", "mcp=b")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("[NO, SE]", ["NO", "SE"]),
        ("[on, off, yes, no, y, n]", ["on", "off", "yes", "no", "y", "n"]),
        ("{on: 1, off: 2}", {"on": 1, "off": 2}),
        ("[2024-01-01, 12:30:45, 1_000]", ["2024-01-01", "12:30:45", "1_000"]),
        ("[true, False, null, ~]", [True, False, None, None]),
        ("[010, 0x1F, 0o17, -3, 1.5, 1e3, .5, 0.]", [10, 31, 15, -3, 1.5, 1000.0, 0.5, 0.0]),
        ("['no', \"1\"]", ["no", "1"]),
    ],
)
def test_yaml_means_what_version_1_2_says(written, meant):
    from toolrm_jax.commands.import_tools_yaml import load_yaml

    found = load_yaml(f"a: {written}")["a"]
    assert found == meant
    assert [type(value) for value in found] == [type(value) for value in meant]


YAML = """
openapi: 3.1.0
paths:
  /ships:
    get:
      operationId: ships
      parameters:
        - {name: country, in: query, schema: {type: string, enum: [NO, SE], default: NO}}
        - {name: on, in: query, schema: {type: string, examples: [2024-01-01]}}
"""


def test_a_yaml_file_of_countries_switches_and_dates_is_what_it_says(tmp_path):
    (tmp_path / "api.yaml").write_text(YAML)
    properties = imported(tmp_path, openapi=tmp_path / "api.yaml")["ships"]["parameters"]["properties"]
    assert properties["country"] == {"type": "string", "enum": ["NO", "SE"], "default": "NO"}
    assert properties["on"] == {"type": "string", "examples": ["2024-01-01"]}


def test_a_value_that_json_lacks_is_refused_in_one_line(tmp_path, fails):
    (tmp_path / "api.yaml").write_text(YAML.replace("2024-01-01", "!!timestamp 2024-01-01"))
    said = fails("import-tools", f"openapi={tmp_path / 'api.yaml'}", f"output={tmp_path / 'tools.json'}")
    assert "not YAML" in said
    assert not (tmp_path / "tools.json").exists()
