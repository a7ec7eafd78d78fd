"""TRBench-BFCL: a hand-written file in the published form, and every published row recomputed by our metric."""

import json

import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.evals import published, trbench
from toolrm_jax.evals.benchmark import Credit
from toolrm_jax.toolcalls.types import Call, ErrorType

TOOL = {
    "type": "function",
    "function": {
        "name": "geo.area",
        "description": "Area.",
        "parameters": {"type": "dict", "properties": {"base": {"type": "float"}}, "required": ["base"]},
    },
}
SYSTEM = f"Be brief.\n\n# Tools\n\nYou may call.\n<tools>\n{json.dumps(TOOL)}\n</tools>\n\nReturn json."


def call(name, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def row(id, source, chosen, rejected, label, swapped=False, history=None):
    history = history or [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Area, base 3?"}]
    return {
        "uuid": id + ("-s" if swapped else ""),
        "raw_id": id,
        "task_source": source,
        "error_type": label,
        "chat_history": history,
        "chosen_response": chosen,
        "reject_response": rejected,
        "chosen_response_from": "ground truth",
        "reject_response_from": "o1",
        "reward_model": {"ground_truth": "2" if swapped else "1", "style": "rule"},
    }


AREA = call("geo.area", base=3)
HALF = [
    ("simple_0", "simple", AREA, call("geo.area", base=4), "value_error:others"),
    ("simple_0", "simple", AREA, call("geo_area", base=3), "simple_function_checker:wrong_func_name"),
    ("simple_1", "simple", AREA, "", "ast_decoder:decoder_failed"),
    ("live_parallel_0", "live_parallel", AREA, "<tool_call>\n{broken", "ast_decoder:decoder_failed"),
]
MULTI = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": "Go on."},
    {"role": "assistant", "content": call("geo.area", base=1)},
    {"role": "user", "content": "<tool_response>\n0.5\n</tool_response>"},
    {"role": "user", "content": "And now?"},
]


def write(path, rows):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def published_file(tmp_path):
    rows = [row(*one) for one in HALF]
    rows.append(
        row(
            "multi_turn_base_0",
            "multi_turn_base",
            call("geo.area", base=2),
            call("geo.area", base=9),
            "multi_turn:instance_state_mismatch",
            history=MULTI,
        )
    )
    swapped = [
        {**one, "reward_model": {"ground_truth": "2", "style": "rule"}, "uuid": one["uuid"] + "-s"} for one in rows
    ]
    return write(tmp_path / "trbench_test_think.parquet", rows + swapped)


def test_pairs_of_one_context_share_a_group_and_bfcls_types_become_json_schema(published_file):
    found = trbench.read(published_file)
    assert [(g.task.id, len(g.candidates)) for g in found.groups] == [
        ("simple_0", 3),
        ("simple_1", 2),
        ("live_parallel_0", 2),
        ("multi_turn_base_0", 2),
    ]
    first = found.groups[0]
    assert [(m.role, m.content) for m in first.task.context.messages] == [
        ("system", "Be brief."),
        ("user", "Area, base 3?"),
    ]
    assert first.task.context.tools[0].parameters["properties"] == {"base": {"type": "number"}}
    assert first.candidates[0].calls == (Call("geo.area", {"base": 3}),)
    assert [v.right for v in first.verdicts] == [True, False, False]
    assert [v.error_type for v in first.verdicts] == [None, ErrorType.VALUE, ErrorType.NAME]
    assert first.verdicts[2].reason == "simple_function_checker:wrong_func_name"


def test_an_empty_reject_and_one_that_is_no_call_are_answers_too(published_file):
    _, empty, broken, _ = trbench.read(published_file).groups
    assert (empty.candidates[1].calls, empty.candidates[1].text, empty.candidates[1].fault) == ((), "", None)
    assert broken.candidates[1].fault is not None
    assert broken.candidates[1].raw == "<tool_call>\n{broken"


def test_a_multi_turn_history_keeps_calls_and_results(published_file):
    messages = trbench.read(published_file).groups[3].task.context.messages
    assert [m.role for m in messages] == ["system", "user", "assistant", "tool", "user"]
    assert messages[2].calls == (Call("geo.area", {"base": 1}),)
    assert messages[3].content == "0.5"


def test_splits_and_both_averages_by_hand(published_file):
    found = trbench.read(published_file)
    # simple: won, lost, tied (so lost); live_parallel: won; multi_turn_base: lost.
    scores = [[1.0, 0.0, 2.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    measured = {(m.part, m.name): m for m in found.metric.of_scores(found.groups, scores)}
    assert measured["", "S"].value == pytest.approx(1 / 3)
    assert measured["", "LP"].value == 1.0
    assert measured["", "MTB"].value == 0.0
    assert measured["", "W-Avg"].value == pytest.approx(2 / 5)
    assert measured["", "Avg"].value == pytest.approx((1 / 3 + 1 + 0) / 3)
    # Without the reject that differs only by a dot, simple has one of two.
    assert measured[trbench.STRICT, "S"].value == 0.5
    assert measured[trbench.STRICT, "W-Avg"].value == pytest.approx(2 / 4)


def test_halves_that_do_not_belong_together_are_told(tmp_path):
    rows = [row(*HALF[0]), row(*HALF[2]), row(*HALF[2], swapped=True), row(*HALF[0], swapped=True)]
    with pytest.raises(DataError, match="its pair in the other order is not at"):
        trbench.read(write(tmp_path / "trbench_test_think.parquet", rows))
    with pytest.raises(DataError, match="every pair stands there twice"):
        trbench.read(write(tmp_path / "odd.parquet", rows[:1]))


def test_of_the_published_folder_the_think_file_is_read(tmp_path, published_file):
    write(tmp_path / "trbench_test_no_think.parquet", [row(*HALF[0])])
    assert len(trbench.read(tmp_path).groups) == 4
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="trbench_test_think"):
        trbench.read(tmp_path / "empty")


ROUNDED = {"Meta/Llama-3.1-8B-Instruct": ("Avg", "W-Avg"), "UIUC/RM-R1-DeepSeek-Distilled-Qwen-32B": ("Avg",)}
"""The two published rows that differ by a hundredth: their averages are those of rates rounded before."""


@pytest.mark.parametrize("published_row", published.trbench(), ids=lambda one: one.model)
def test_every_published_average_follows_from_its_splits(published_row):
    wins = {name: round(published_row.values[name] * size) for name, size in trbench.SIZES.items()}
    for name, size in trbench.SIZES.items():  # the sizes are right: every published rate is a whole count of them
        assert round(100 * wins[name] / size, 2) == pytest.approx(100 * published_row.values[name], abs=1e-9)
    average, weighted = trbench.averages({n: wins[n] / s for n, s in trbench.SIZES.items()}, trbench.SIZES)
    for name, value in (("Avg", average), ("W-Avg", weighted)):
        slack = 0.0101 if name in ROUNDED.get(published_row.model, ()) else 1e-9
        assert abs(round(100 * value, 2) - 100 * published_row.values[name]) <= slack


def test_the_metric_itself_gives_a_published_row():
    best = next(one for one in published.trbench() if one.model == "ToolRM-Disc-Qwen3-4B-Instruct-2507")
    long_names = {short: name for name, short in trbench.SPLITS.items()}
    credits = [
        Credit(f"{name}{k}", long_names[name], None, float(k < round(best.values[name] * size)))
        for name, size in trbench.SIZES.items()
        for k in range(size)
    ]
    measured = {m.name: m for m in trbench.metric().of_credits(credits)}
    assert round(100 * measured["W-Avg"].value, 2) == 77.61
    assert round(100 * measured["Avg"].value, 2) == 82.69
    assert measured["W-Avg"].n == 2983
    assert measured["Avg"].low < 0.8269 < measured["Avg"].high


def test_scalar_rows_are_of_single_order_all_others_of_both():
    kinds = {one.model: one.metric for one in published.trbench()}
    assert len(kinds) == 37
    assert kinds["ToolRM-Disc-Qwen3-4B-Thinking-2507"] == published.SINGLE
    assert kinds["Qwen/Qwen2.5-Max"] == published.BOTH


def test_of_fc_rewardbench_only_rows_with_a_number_of_the_same_metric_are_kept():
    assert [(one.model, one.values) for one in published.fc_rewardbench()] == [
        ("Themis (tool-augmented reward model)", {"overall": 0.45})
    ]
