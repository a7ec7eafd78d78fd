"""Built benchmarks on disk, in the published forms: FC-RewardBench's Arrow folder, TRBench-BFCL's parquet file."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolrm_jax.data.chat import response_text
from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.build_pairs import Built, Pair, bfcl_form, components
from toolrm_jax.evals.choice_prompt import choice_prompt
from toolrm_jax.evals.pairwise import Question
from toolrm_jax.evals.trbench import SPLITS, THINK
from toolrm_jax.files import CARD, new_folder, write_file
from toolrm_jax.toolcalls.render import openai_tool
from toolrm_jax.toolcalls.types import Candidate, Context, Tool

FC_FILE = "data-00000-of-00001.arrow"


def write_outcome(folder: Path | str, built: Built, config: Mapping[str, Any], overwrite: bool = False) -> None:
    """FC-RewardBench's columns, in Arrow's stream form as `datasets.save_to_disk` writes it, and a card.

    Values that are no texts stand as JSON. Raises ConfigError without pyarrow.
    """
    arrow, ipc = _pyarrow("pyarrow"), _pyarrow("pyarrow.ipc")
    part = components(pair.graded for pair in built.pairs)
    rows = [_outcome_row(pair) | {"component": part[pair.graded.task.id]} for pair in built.pairs]
    with new_folder(folder, overwrite) as partial:
        table = arrow.Table.from_pylist(rows)
        with ipc.new_stream(str(partial / FC_FILE), table.schema) as writer:
            writer.write_table(table)
        write_file(partial / "state.json", json.dumps({"_data_files": [{"filename": FC_FILE}]}))
        write_file(partial / "dataset_info.json", json.dumps({"dataset_name": "fc-reward-bench rebuilt"}))
        write_file(partial / CARD, card(built, config))


def write_agentic(folder: Path | str, built: Built, config: Mapping[str, Any], overwrite: bool = False) -> None:
    """TRBench-BFCL's columns in parquet: all pairs, then all of them again with the answers swapped; and a card."""
    arrow, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
    halves = [[_agentic_row(k, pair, swapped) for k, pair in enumerate(built.pairs)] for swapped in (False, True)]
    with new_folder(folder, overwrite) as partial:
        parquet.write_table(arrow.Table.from_pylist(halves[0] + halves[1]), partial / f"{THINK}.parquet")
        write_file(partial / CARD, card(built, config))


def card(built: Built, config: Mapping[str, Any]) -> str:
    """What was built of what: counts by error type, category and model, and what was left out, as JSON."""
    counts = {
        "pairs": len(built.pairs),
        "questions": len({pair.graded.task.id for pair in built.pairs}),
        "function components": len(set(components(pair.graded for pair in built.pairs).values())),
        "error types": dict(Counter(str(pair.wrong.verdict.error_type) for pair in built.pairs).most_common()),
        "BFCL labels": dict(Counter(pair.wrong.label for pair in built.pairs).most_common()),
        "categories": dict(Counter(pair.graded.task.category for pair in built.pairs).most_common()),
        "wrong answers of": dict(Counter(pair.wrong.models[0] for pair in built.pairs).most_common()),
    }
    licences = dict(Counter(pair.graded.task.licence for pair in built.pairs))
    value = {"config": dict(config), "counts": counts, "drops": built.drops, "licences of the questions": licences}
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _outcome_row(pair: Pair) -> dict[str, Any]:
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
    }


def _agentic_row(index: int, pair: Pair, swapped: bool) -> dict[str, Any]:
    task, right, wrong = pair.graded.task, pair.right.candidate, pair.wrong.candidate
    shown = (wrong, right) if swapped else (right, wrong)
    return {
        "uuid": f"{index}{'-swapped' if swapped else ''}",
        "raw_id": task.id,
        "task_source": _published_category(task.category),
        "error_type": pair.wrong.label,
        "chat_history": _history(task.context),
        "chosen_response": _answer(right),
        "reject_response": _answer(wrong),
        "chosen_response_from": "ground truth",
        "reject_response_from": pair.wrong.models[0],
        "prompt": [{"role": "user", "content": choice_prompt(Question("", task.context, *shown))}],
        "ability": "tool",
        "reward_model": {"ground_truth": "2" if swapped else "1", "style": "rule"},
        "extra_info": {"index": index, "raw_id": task.id, "split": "test"},
    }


def _published_category(category: str) -> str:
    """v4's `simple_python` and its like are v3's `simple`."""
    return category if category in SPLITS else category.partition("_")[0]


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
