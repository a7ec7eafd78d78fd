"""StableToolBench (Guo et al., 2024): 765 solvable queries over ToolBench's functions, and runs that judges passed.

Queries name the functions to use but not the arguments, so they have no reference. `read_candidates` gives the runs
that come with pass rates: the chain of calls as one answer, right where most of the judge's votes say solved.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import NO_ANSWER, Drops, Unfit, each
from toolrm_jax.sources.literals import loads, read_call
from toolrm_jax.sources.rows import files, load, rows
from toolrm_jax.sources.toolbench_apis import read_apis
from toolrm_jax.sources.tools import read_tools
from toolrm_jax.sources.trajectories import single
from toolrm_jax.toolcalls.types import Call, Candidate, Context, Group, Message, Task, Verdict

LICENCE = "Apache-2.0"


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of the files in `test_instruction` at or below `path`, without references; the category is the file's."""
    found = [file for file in files(path, "stabletoolbench") if file == path or file.parent.name == "test_instruction"]
    if not found:
        raise DataError(f"{path}: no folder `test_instruction` there; give the folder solvable_queries")
    for file in found:
        columns = ("api_list", "query", "query_id")
        yield from each(rows(file, drops, columns), lambda _, row, name=file.stem: (_task(row, name),), drops)


def _task(row: dict[str, Any], category: str) -> Task:
    tools = read_apis(row["api_list"])
    id = f"stabletoolbench/{category}/{row['query_id']}"
    return single(id, "stabletoolbench", category, LICENCE, tools, (Message("user", row["query"]),), None)


def read_candidates(path: Path | None, drops: Drops) -> Iterator[Group]:
    """The runs of `model_predictions_converted` that `pass_rate_results` judges, a group a query."""
    predicted = {
        (file.parent.name, file.stem): file
        for file in files(path, "stabletoolbench")
        if file.parent.parent.name == "model_predictions_converted"
    }
    judged = {
        model: next((predicted[key].parents[2] / "pass_rate_results").rglob(f"{key[1]}_{model}.json"), None)
        for key in predicted
        for model in (key[0],)
    }
    runs: dict[tuple[str, str], list[tuple[str, dict[str, Any], Any]]] = {}
    for (model, category), file in predicted.items():
        if judged[model] is None:
            raise DataError(f"{file}: no pass_rate_results beside it; fetch StableToolBench again")
        votes = load(judged[model])
        for query, run in load(file).items():
            runs.setdefault((category, query), []).append((model, run, votes.get(query, {}).get("is_solved")))
    named = ((f"stabletoolbench/{category}/{query}", (category, some)) for (category, query), some in runs.items())
    yield from each(named, lambda id, item: (_group(id, *item),), drops)


def _group(id: str, category: str, runs: list[tuple[str, dict[str, Any], Any]]) -> Group:
    tools = read_tools(runs[0][1]["available_tools"])
    context = Context(tools, (Message("user", runs[0][1]["query"]),))
    members = [_member(*run) for run in runs]
    known = [member for member in members if member is not None]
    if not known:
        raise Unfit(NO_ANSWER, "no vote for any run")
    return Group(Task(id, "stabletoolbench", category, LICENCE, context), *zip(*known))


def _member(model: str, run: dict[str, Any], solved: Any) -> tuple[Candidate, Verdict] | None:
    """A run and the judge's votes on it: `Solved`, `Unsolved` or `Unsure`, once or by vote."""
    votes = [str(vote).rpartition(".")[2] for vote in (solved.values() if isinstance(solved, dict) else [solved])]
    yes, no = votes.count("Solved"), votes.count("Unsolved")
    if yes == no:
        return None
    answer = run["answer"]
    calls = tuple(_calls(answer["answer_details"]))
    candidate = Candidate(calls, _final(answer["final_answer"]), f"model:{model}")
    return candidate, Verdict(yes > no, yes / (yes + no), None, f"solved by {yes} of {len(votes)} votes")


def _calls(steps: list[dict[str, Any]]) -> Iterator[Call]:
    """The calls along the first branch of a run's tree, which is a chain; `Finish` is no call but the answer."""
    while steps:
        step = steps[0]
        if step["role"] == "tool":
            call = read_call(step["message"] if isinstance(step["message"], dict) else loads(step["message"]))
            if call.name != "Finish":
                yield call
        steps = step["next"]


def _final(text: str) -> str:
    try:
        value = loads(text)
    except ValueError:
        return text
    return str(value.get("final_answer", text)) if isinstance(value, dict) else text
