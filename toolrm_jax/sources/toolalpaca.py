"""ToolAlpaca (Tang et al., 2023): instructions for the functions of one API each, with golden calls, and agent runs.

`read` gives the evaluation files and, where they are, training files of the same form (with `Instances` in place of
golden answers, cut into steps). `read_candidates` gives the published runs of the ToolAlpaca agents, a whole chain of
calls as one answer, which a judge called right or wrong by its process.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.sources.drops import NO_ANSWER, NO_TOOLS, NOT_READABLE, Drops, Unfit, each
from toolrm_jax.sources.literals import loads, read_call
from toolrm_jax.sources.rows import files, load, rows
from toolrm_jax.sources.tools import read_tool
from toolrm_jax.sources.trajectories import Transcript, segments, single
from toolrm_jax.toolcalls.types import Call, Candidate, Context, Group, Message, Reference, Task, Tool, Verdict

LICENCE = "Apache-2.0"
_PARAMETERS = re.compile(r"^Parameters: (\{.*\})\s*$", re.MULTILINE)
_REQUIRED = re.compile(r"^\s*(Required|Optional)\.\s*", re.IGNORECASE)
_KIND = re.compile(
    r"^\s*(?P<kind>string|integer|number|boolean|object|float|(?:array|list)(?:\[\w+\])?)(?!\w)(?:\([^)]*\))?\.?\s*",
    re.IGNORECASE,
)
_CHOICES = re.compile(r"^One of: \[([^\]]*)\]\.?\s*")
_FUNCTION = re.compile(r"^([\w.\[\]-]+): (?=.*(?:\n(?!\w+: ).*)*?\nParameters: )", re.MULTILINE)
_PLACEHOLDER = re.compile(r"(?<![\w\"])\$\{|\"\$\{")
_STEP = re.compile(r"^\d+\. (?:Function: (?P<name>\S+)\nParameters: (?P<arguments>.*)|Final Response: )", re.MULTILINE)


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of the files `eval_*.json` and `train_data.json` at or below `path`."""
    found = [
        file for file in files(path, "toolalpaca") if file == path or file.name.startswith(("eval_", "train_data"))
    ]
    for file in found:
        yield from each(rows(file, drops), lambda _, api, name=file.stem: _api_tasks(api, name, drops), drops)


def _api_tasks(api: dict[str, Any], category: str, drops: Drops) -> Iterator[Task]:
    tools = read_functions(api["Function_Description"])
    id = f"toolalpaca/{category}/{api['Name']}"
    if "Golden_Answers" in api:
        pairs = enumerate(zip(api["Instructions"], api["Golden_Answers"], strict=True))
        asked = ((f"{id}/{number}", pair) for number, pair in pairs)
        yield from each(asked, lambda where, pair: (_question(where, category, tools, *pair),), drops)
    else:
        done = ((f"{id}/{number}", instance) for number, instance in enumerate(api["Instances"]))
        yield from each(done, lambda where, instance: _steps(where, category, tools, instance, drops), drops)


def _question(id: str, category: str, tools: tuple[Tool, ...], instruction: str, golden: list[Any]) -> Task:
    """The reference ends before the first call with a value that only an earlier result can tell (`${id}`)."""
    told = list(itertools.takewhile(lambda step: not _PLACEHOLDER.search(step["Action_Input"]), golden))
    calls = tuple(_golden(step, tools) for step in told)
    if not calls:
        raise Unfit(NO_ANSWER, "the first call is not told")
    return single(id, "toolalpaca", category, LICENCE, tools, (Message("user", instruction),), Reference(calls))


def _golden(step: dict[str, str], tools: tuple[Tool, ...]) -> Call:
    """A golden call; the empty text that stands for an optional parameter's not being given is left out."""
    call = read_call({"name": step["Action"], "arguments": step["Action_Input"]})
    required = next((tool.required for tool in tools if tool.name == call.name), ())
    return Call(call.name, {name: value for name, value in call.arguments.items() if value != "" or name in required})


def _steps(id: str, category: str, tools: tuple[Tool, ...], instance: dict[str, Any], drops: Drops) -> Iterator[Task]:
    """A training run: thought, action, input and observation step by step, then the reply."""
    if "input" not in instance or "Final Thought" not in instance:
        raise Unfit(NO_ANSWER, "the run was not finished")
    said = Transcript()
    said.user(instance["input"])
    for (name, arguments, _), observation in instance["intermediate_steps"]:
        said.assistant("", (read_call({"name": name, "arguments": arguments}),))
        said.result(observation, name)
    said.assistant(instance["output"])
    yield from segments(said.finish(id, "toolalpaca", category, LICENCE, tools), drops)


def read_functions(described: dict[str, str]) -> tuple[Tool, ...]:
    """Tools from `{name: "about\\nParameters: {json of texts}\\nOutput: ..."}`. Raises Unfit."""
    tools = []
    for name, text in described.items():
        found = _PARAMETERS.search(text)
        if name == "components" or not found:
            continue  # the shapes of responses, which stand beside the functions
        parameters = {key: _parameter(str(value)) for key, value in json.loads(found[1]).items()}
        about = text.partition("\nParameters: ")[0]
        tools.append(read_tool({"name": name, "description": about, "parameters": parameters}))
    if not tools:
        raise Unfit(NO_TOOLS)
    return tuple(tools)


def _parameter(text: str) -> dict[str, Any]:
    """`Required. string. One of: [a, b]. What it is.` as a schema, each part optional."""
    schema: dict[str, Any] = {}
    if found := _REQUIRED.match(text):
        schema["required"] = found[1].lower() == "required"
        text = text[found.end() :]
    if found := _KIND.match(text):
        schema["type"] = found["kind"].lower()
        text = text[found.end() :]
    if found := _CHOICES.match(text):
        choices = [choice.strip() for choice in found[1].split(",")]
        if schema.get("type") == "string":
            schema["enum"] = list(dict.fromkeys(choices))
        text = text[found.end() :] if "enum" in schema else text
    return {**schema, "description": text.strip()}


def read_candidates(path: Path | None, drops: Drops) -> Iterator[Group]:
    """The runs in `evalution_outputs`, a group with one candidate each; those the judge is uncertain of are dropped.

    The golden calls stand in the judge's prompt, and are the task's reference where all their values are told.
    """
    found = [file for file in files(path, "toolalpaca") if file == path or file.parent.name == "evalution_outputs"]
    for file in found:
        apis = load(file)
        runs = (
            (f"toolalpaca/{file.stem}/{api}/{number}", run)
            for api, judged in apis.items()
            if api != "statistics"
            for number, run in enumerate(judged)
        )
        yield from each(runs, lambda id, run, maker=file.stem: (_run(id, run, maker),), drops)


def _run(id: str, run: dict[str, Any], maker: str) -> Group:
    verdict = run.get("process_correctness")
    if verdict not in ("Yes", "No"):
        raise Unfit(NO_ANSWER, f"judged {verdict!r}")
    prompt = run["input"][0]["content"]
    documented, _, rest = prompt.partition("## Documentation\n")[2].partition("## Task Instruction\n")
    instruction, _, rest = rest.partition("## Standard Answer\n")
    standard, _, solution = rest.partition("## AI Assistant's Solution\n")
    solution = solution.partition("## Analysis")[0]
    if not solution.strip():
        raise Unfit(NOT_READABLE, "the prompt holds no solution")
    tools = read_functions(_described(documented))
    context = Context(tools, (Message("user", instruction.strip()),))
    reference = None if _PLACEHOLDER.search(standard) else Reference(_chain(standard))
    task = Task(id, "toolalpaca", maker, LICENCE, context, reference)
    words = solution.rpartition("Final Response: ")[2].strip() if "Final Response: " in solution else ""
    try:
        candidate = Candidate(_chain(solution), words, f"model:{maker}", solution.strip())
    except (Unfit, ValueError) as fault:
        candidate = Candidate(maker=f"model:{maker}", raw=solution.strip(), fault=" ".join(str(fault).split()))
    right = verdict == "Yes"
    return Group(task, (candidate,), (Verdict(right, float(right), None, f"judged {verdict} by its process"),))


def _described(documentation: str) -> dict[str, str]:
    """The functions of a documentation: each begins with its name and ends where the next begins."""
    starts = list(_FUNCTION.finditer(documentation))
    ends = [found.start() for found in starts[1:]] + [len(documentation)]
    return {found[1]: documentation[found.end() : end] for found, end in zip(starts, ends)}


def _chain(text: str) -> tuple[Call, ...]:
    steps = [found for found in _STEP.finditer(text) if found["name"]]
    return tuple(read_call({"name": step["name"], "arguments": loads(step["arguments"])}) for step in steps)
