"""Built benchmarks on disk, in the published forms: FC-RewardBench's Arrow folder, TRBench-BFCL's parquet file."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.data.chat import response_text
from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.build_card import card, card_of_sides
from toolrm_jax.evals.build_pairs import Built, Pair, bfcl_form, components
from toolrm_jax.evals.choice_prompt import choice_prompt
from toolrm_jax.evals.pairwise import Question
from toolrm_jax.evals.rebuilt import FC_REWARDBENCH, GROUND_TRUTH, TRBENCH
from toolrm_jax.evals.trbench import CATEGORIES, THINK
from toolrm_jax.files import CARD, new_folder, write_file
from toolrm_jax.sources.bfcl_outputs import REFERENCE, Answer
from toolrm_jax.toolcalls.render import openai_tool
from toolrm_jax.toolcalls.types import Candidate, Context, Tool

FC_FILE = "data-00000-of-00001.arrow"


def write_outcome(
    folder: Path | str, sides: Mapping[str, Built], config: Mapping[str, Any], overwrite: bool = False
) -> None:
    """FC-RewardBench's columns, in Arrow's stream form as `datasets.save_to_disk` writes it, and a card.

    `sides`: by name, each in a folder of its own; a benchmark in one piece has no name. Values that are no texts
    stand as JSON; `chosen_model_name` and `component` are columns of ours. Raises ConfigError without pyarrow.
    """
    arrow, ipc = _pyarrow("pyarrow"), _pyarrow("pyarrow.ipc")

    def fill(place: Path, pairs: Sequence[Pair], part: Mapping[str, int]) -> None:
        table = arrow.Table.from_pylist([_outcome_row(pair, part[pair.graded.task.id]) for pair in pairs])
        with ipc.new_stream(str(place / FC_FILE), table.schema) as writer:
            writer.write_table(table)
        write_file(place / "state.json", json.dumps({"_data_files": [{"filename": FC_FILE}]}))
        write_file(place / "dataset_info.json", json.dumps({"dataset_name": "fc-reward-bench rebuilt"}))

    _write(folder, sides, FC_REWARDBENCH, fill, config, overwrite)


def write_agentic(
    folder: Path | str, sides: Mapping[str, Built], config: Mapping[str, Any], overwrite: bool = False
) -> None:
    """TRBench-BFCL's columns in parquet: all pairs, then all of them again with the answers swapped; and a card.

    `sides` and errors as in `write_outcome`.
    """
    arrow, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")

    def fill(place: Path, pairs: Sequence[Pair], part: Mapping[str, int]) -> None:
        rows = [
            _agentic_row(k, pair, part[pair.graded.task.id], swapped)
            for swapped in (False, True)
            for k, pair in enumerate(pairs)
        ]
        parquet.write_table(arrow.Table.from_pylist(rows), place / f"{THINK}.parquet")

    _write(folder, sides, TRBENCH, fill, config, overwrite)


def _write(
    folder: Path | str,
    sides: Mapping[str, Built],
    form: str,
    fill: Callable[[Path, Sequence[Pair], Mapping[str, int]], None],
    config: Mapping[str, Any],
    overwrite: bool,
) -> None:
    part = components(pair for built in sides.values() for pair in built.pairs)
    with new_folder(folder, overwrite) as partial:
        for name, built in sides.items():
            place = partial / name
            place.mkdir(exist_ok=True)
            fill(place, built.pairs, part)
            write_file(place / CARD, card(form, built, config, name or None))
        if "" not in sides:
            write_file(partial / CARD, card_of_sides(form, tuple(sides), config))


def _outcome_row(pair: Pair, component: int) -> dict[str, Any]:
    task, wrong = pair.graded.task, pair.wrong.candidate
    rejected = wrong.raw or "" if wrong.fault is not None else _json(bfcl_form(wrong.calls))
    return {
        "tools": _json([_doc(tool) for tool in task.context.tools]),
        "conversation": _json([{"role": m.role, "content": m.content} for m in task.context.messages]),
        "chosen_output": _json(bfcl_form(pair.right.candidate.calls)),
        "rejected_output": rejected,
        "error_type": str(pair.wrong.verdict.error_type),
        "model_name": pair.wrong.models[0],
        "test_category": task.category,
        "test_id": task.id,
        "chosen_model_name": _maker(pair.right),
        "component": component,
    }


def _agentic_row(index: int, pair: Pair, component: int, swapped: bool) -> dict[str, Any]:
    task, right, wrong = pair.graded.task, pair.right.candidate, pair.wrong.candidate
    shown = (wrong, right) if swapped else (right, wrong)
    return {
        "uuid": f"{index}{'-swapped' if swapped else ''}",
        "raw_id": task.id,
        "task_source": CATEGORIES[task.category],
        "error_type": pair.wrong.label,
        "chat_history": _history(task.context),
        "chosen_response": _answer(right),
        "reject_response": _answer(wrong),
        "chosen_response_from": _maker(pair.right),
        "reject_response_from": pair.wrong.models[0],
        "prompt": [{"role": "user", "content": choice_prompt(Question("", task.context, *shown))}],
        "ability": "tool",
        "reward_model": {"ground_truth": "2" if swapped else "1", "style": "rule"},
        "extra_info": {"index": index, "raw_id": task.id, "split": "test", "component": component},
    }


def _maker(answer: Answer) -> str:
    return GROUND_TRUTH if answer.candidate.maker == REFERENCE else answer.models[0]


def _history(context: Context) -> list[dict[str, str]]:
    lines = "\n".join(_json(openai_tool(tool)) for tool in context.tools)
    policy = context.messages[0].content if context.messages and context.messages[0].role == "system" else ""
    system = f"{policy}\n\n# Tools\n\n<tools>\n{lines}\n</tools>".lstrip()
    messages = [{"role": "system", "content": system}]
    for message in context.messages[1 if policy else 0 :]:
        if message.role == "tool":
            messages.append({"role": "user", "content": f"<tool_response>\n{message.content}\n</tool_response>"})
        else:
            text = _answer(Candidate(message.calls, message.content)) if message.calls else message.content
            messages.append({"role": message.role, "content": text})
    return messages


def _answer(candidate: Candidate) -> str:
    return response_text(candidate)


def _doc(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _pyarrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError("writing Arrow files needs pyarrow; run `pip install 'toolrm_jax[hf]'`") from None
