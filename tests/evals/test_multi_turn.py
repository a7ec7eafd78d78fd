"""BFCL's state-based verdicts from a limited process, against the published ones; model text is never evaluated."""

import subprocess
import sys

import pytest

from toolrm_jax.evals import build_multi_turn, multi_turn
from toolrm_jax.evals.multi_turn import Run, call_text, read_turns, verdicts
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Call


@pytest.fixture(autouse=True)
def _bfcl_eval():
    pytest.importorskip("bfcl_eval", reason="pip install --no-deps bfcl-eval")


QUESTION = {
    "id": "multi_turn_base_0",
    "involved_classes": ["MathAPI"],
    "initial_config": {"MathAPI": {}},
}
TOOLS = frozenset({"add", "subtract", "mean"})


def run(*turns, truth=(["add(a=1, b=2)"],)):
    return Run(QUESTION, truth, turns, TOOLS)


def test_the_same_answers_are_right_and_others_are_not_with_bfcls_label():
    found = verdicts(
        [
            run([[Call("add", {"a": 1, "b": 2})]]),
            run([[Call("add", {"a": 1, "b": 3})]]),
            run([]),
            run([[Call("add", {"a": 1, "b": 2})]], []),
        ]
    )
    assert [one.right for one in found] == [True, False, False, False]
    assert [one.label for one in found[1:]] == [
        "multi_turn:execution_response_mismatch",
        "multi_turn:empty_turn_model_response",
        multi_turn.FORCE_TERMINATED,
    ]


def test_one_run_leaves_nothing_behind_for_the_next():
    same = run([[Call("add", {"a": 1, "b": 2})]])
    assert [one.right for one in verdicts([same] * 3)] == [True] * 3


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (Call("add", {"a": 1, "b": "x'); import os; ('"}), "add(a=1,b=\"x'); import os; ('\")"),
        (Call("__import__", {"name": "os"}), multi_turn.UNKNOWN_CALL),
        (Call("add<|channel|>commentary", {"a": 1}), multi_turn.UNKNOWN_CALL),
        (Call("add", {"a); import os; (b": 1}), f"add({multi_turn.UNKNOWN_CALL})"),
        (Call("mean", {"numbers": [1, {"a": None, "b": True}]}), "mean(numbers=[1, {'a': None, 'b': True}])"),
    ],
)
def test_calls_reach_the_checker_as_names_on_offer_and_literals(call, text):
    assert call_text(call, TOOLS) == text


def test_the_death_of_the_process_is_told(tmp_path, monkeypatch):
    process = tmp_path / "multi_turn_process.py"
    process.write_text("import sys\nprint('{}')\nsys.exit('out of memory')\n")
    monkeypatch.setattr(multi_turn, "__file__", str(tmp_path / "multi_turn.py"))
    with pytest.raises(multi_turn.DataError, match=r"ended after 1 of 2 runs \(out of memory\)"):
        verdicts([run([[Call("add", {"a": 1, "b": 2})]])] * 2)


def test_the_limited_process_can_write_no_file(tmp_path):
    code = (
        "import sys\n"
        "from toolrm_jax.evals import multi_turn_process\n"
        "multi_turn_process._limit()\n"
        "with open(sys.argv[1], 'w') as file: file.write('x')\n"
    )
    file = tmp_path / "written"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert file.read_bytes() == b""


def test_steps_in_words_count_for_nothing_and_what_is_no_list_of_turns_is_an_inference_error():
    assert read_turns([[[{"add": '{"a": 1}'}], [], "done", [{"add": "{broken"}]], []]) == [
        [[Call("add", {"a": 1})]],
        [],
    ]
    assert read_turns("Error during inference") is None
    assert verdicts([Run(QUESTION, (["add(a=1, b=2)"],), None, TOOLS)])[0].label == multi_turn.INFERENCE_ERROR


def test_the_first_failing_turn_is_found():
    good, bad = [[Call("add", {"a": 1, "b": 2})]], [[Call("add", {"a": 9, "b": 9})]]
    truth = (["add(a=1, b=2)"], ["add(a=1, b=2)", "add(a=2, b=2)"], ["add(a=1, b=2)"])
    runs = [run(bad, good, good, truth=truth), run(good, good, good, truth=truth)]
    assert build_multi_turn.failing_turns(runs) == [0, 1]


@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_published_verdicts_are_reproduced(data_folder, every):
    from toolrm_jax.sources import bfcl_multi_turn

    folder = data_folder("bfcl_multi_turn")
    runs = build_multi_turn.read_runs(folder, drops := Drops())
    assert len(runs) == 1800
    assert drops.total == 0
    failed = {
        (f"{file.parent.parent.name}@{file.parents[3].name}", id)
        for file in bfcl_multi_turn.result_files(folder)
        for id in bfcl_multi_turn.failed_ids(file, Drops())
    }
    runs = runs[::every]
    found = verdicts([one.run for one in runs])
    assert [one.right for one in found] == [(one.model, one.row["id"]) not in failed for one in runs]
    assert every > 1 or sum(one.right for one in found) == 809


def test_pairs_of_failed_runs_stand_on_what_happened_before(data_folder):
    runs = build_multi_turn.read_runs(data_folder("bfcl_multi_turn"), Drops())
    some = [one for one in runs if one.category == "multi_turn_base"][:20]
    pairs = list(build_multi_turn.pairs(some, drops := Drops()))
    assert len(pairs) >= 4
    for pair in pairs:
        context = pair.graded.task.context
        assert context.messages[-1].role == "user"
        assert {call.name for call in pair.right.candidate.calls} <= {tool.name for tool in context.tools}
        assert pair.wrong.label.startswith("multi_turn:")
    assert any(message.role == "tool" for pair in pairs for message in pair.graded.task.context.messages)
    assert drops.counts.keys() <= {build_multi_turn.CUT_SHORT, build_multi_turn.NOTHING_RIGHT}
