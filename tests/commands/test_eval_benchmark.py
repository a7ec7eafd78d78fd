"""`toolrm eval benchmark=…`, `toolrm report`, `eval build` and `filter`: whole, cut short, and refused."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.converters.engine_stand_in import serving
from toolrm_jax.cli import main
from toolrm_jax.evals.results import load
from toolrm_jax.files import CARD


@pytest.fixture
def rotbench_file(tmp_path):
    """One question of RoTBench, at two levels."""
    tools = [
        {
            "name": name,
            "description": "",
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        }
        for name in ("translate", "finish")
    ]
    system = f"You are an expert. You have access of the following tools:\n{json.dumps(tools)}\n\nLet's Begin!"
    answer = 'Thought:\nAction: translate\nAction Input: {"text": "it"}'
    turns = [("system", system), ("user", "Translate it.\nBegin!\n"), ("assistant", [answer])]
    item = {"id": "Turn 1: x", "conversations": [{"from": who, "value": value} for who, value in turns]}
    folder = tmp_path / "rotbench" / "First_Turn"
    folder.mkdir(parents=True)
    for level in ("clean", "union"):
        (folder / f"{level}.json").write_text(json.dumps([item]))
    return tmp_path / "rotbench"


def test_benchmarks_without_a_model_leave_results_report_markdown_and_metadata(pairs, rotbench_file, tmp_path, capsys):
    output = tmp_path / "out"
    words = [f"benchmark=fc-rewardbench:{pairs},rotbench:{rotbench_file}", f"output={output}"]
    assert main(["eval", *words]) == 0
    told = capsys.readouterr().out
    assert "judging 2 groups: pairs, non-live" in told
    suite = load(output)
    assert [one.benchmark for one in suite.judged] == ["pairs, non-live", "pairs, live", "RoTBench"]
    assert [result.judge for result in suite.judged[0].results] == [
        "random",
        "shorter",
        "longer",
        "schema-valid",
        "hand rule",
    ]
    assert suite.command == f"toolrm eval output={output} benchmark={words[0].partition('=')[2]}"
    page = (output / "report.html").read_text()
    assert suite.command in page
    assert "RoTBench" in page
    assert "| single-order accuracy |" in (output / "report.md").read_text()
    (index,) = json.loads((output / "model_index.json").read_text())
    assert index["results"][0]["dataset"]["name"] == "pairs, non-live"


def test_a_model_is_judged_first_with_the_hand_rule_added_and_its_time_told(finished, pairs, tmp_path):
    output = tmp_path / "out"
    words = [f"model={finished / 'model'}", f"benchmark=fc-rewardbench:{pairs}", f"output={output}", "agreement=2"]
    assert main(["eval", *words]) == 0
    judged = load(output).judged[0]
    assert [result.judge for result in judged.results][:2] == ["reward model", "reward model + hand rule"]
    assert {"compile", "forward pass", "tokenise", "pack"} >= judged.seconds.keys() >= {"forward pass", "tokenise"}
    found = {measure.name: measure.value for measure in judged.diagnosis}
    assert found["packed together and one at a time: largest difference"] < 1e-4
    assert found["float32 and bfloat16: largest difference"] > 0


def test_a_second_benchmark_finds_what_the_first_compiled(finished, pairs):
    import jax.numpy as jnp

    from toolrm_jax.commands.trained import open_reward_model
    from toolrm_jax.data.store import encode
    from toolrm_jax.evals import fc_rewardbench, scoring

    opened = open_reward_model(finished / "model")
    groups = [encode(opened.chat, group) for group in fc_rewardbench.read(pairs).groups]
    first, second = scoring.Clock(), scoring.Clock()
    one = scoring.score(opened.model, groups, jnp.float32, first)
    two = scoring.score(opened.model, groups, jnp.float32, second)
    assert scoring.COMPILE not in second.seconds
    assert second.outside_forward() < 1
    assert [row.tolist() for row in one] == [row.tolist() for row in two]


def test_a_suite_that_was_killed_goes_on_from_what_is_on_disk(pairs, tmp_path):
    """The journal of a judge's scores is written as it goes; the process is killed between two pieces."""
    script = tmp_path / "judge.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from toolrm_jax.commands.remembered import remembered\n"
        "from toolrm_jax.evals.baselines import Judge\n"
        "from toolrm_jax.evals import fc_rewardbench\n"
        "asked = Path(sys.argv[2])\n"
        "def score(groups):\n"
        "    with open(asked, 'a') as file: print(len(groups), file=file, flush=True)\n"
        "    if len(sys.argv) > 3 and asked.read_text().count('\\n') == 2: time.sleep(600)\n"
        "    return [[1.0, 0.0] for _ in groups]\n"
        "groups = fc_rewardbench.read(sys.argv[1]).groups\n"
        "print(remembered(Judge('slow', score), Path(sys.argv[2] + '.scores'), 'x', piece=1)(groups))\n"
    )
    asked = tmp_path / "asked"
    process = subprocess.Popen([sys.executable, str(script), str(pairs), str(asked), "hang"])
    while not asked.exists() or asked.read_text().count("\n") < 2:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(
        [sys.executable, str(script), str(pairs), str(asked)], capture_output=True, text=True, check=True
    )
    assert len(json.loads(done.stdout)) == 3
    assert asked.read_text().count("\n") == 4  # two before the kill, of which one was kept; then two more


def test_a_scalar_server_judges_by_the_models_tokens_and_its_death_is_told_not_scored(
    finished, pairs, tmp_path, fails, capsys
):
    output = tmp_path / "out"
    words = [f"model={finished / 'model'}", f"benchmark=fc-rewardbench:{pairs}", f"output={output}", "server=sglang"]
    with serving("sglang", lambda row: float(len(row))) as (url, seen):
        assert main(["eval", *words, f"url={url}"]) == 0
        assert sum(seen) == 6
    judged = load(output).judged
    assert judged[0].results[0].judge == "sglang server"
    capsys.readouterr()
    other = tmp_path / "other"
    said = fails("eval", *words[:2], words[3], f"url={url}", f"output={other}")
    assert "no answer" in said
    assert not (other / "results.json").exists()
    # What the dead server had answered is still there for the same command.
    assert main(["eval", *words, f"url={url}"]) == 0


def test_runs_stand_side_by_side_in_one_report(pairs, tmp_path, capsys):
    folders = [tmp_path / name for name in ("one", "two")]
    for seed, folder in enumerate(folders):
        assert main(["eval", f"benchmark=fc-rewardbench:{pairs}", f"output={folder}", f"seed={seed}"]) == 0
    page = tmp_path / "both.html"
    assert main(["report", f"path={folders[0]},{folders[1]}", f"output={page}"]) == 0
    text = page.read_text()
    assert text.count(f"output={folders[1]}") >= 1
    assert text.count(f"output={folders[0]}") >= 1
    assert page.with_suffix(".md").is_file()


def test_answers_are_built_into_a_benchmark_and_judged(tmp_path, capsys):
    pytest.importorskip("bfcl_eval", reason="pip install --no-deps bfcl-eval")
    pytest.importorskip("pyarrow")
    right, wrong = ([{"calculate_triangle_area": {"base": 10, "height": height}}] for height in (5, 6))
    row = {
        "id": "simple_python_0",
        "right": [{"call": right, "models": ["a"]}],
        "wrong": [{"call": wrong, "models": ["b"], "error_type": "incorrect parameter value"}],
    }
    pool = tmp_path / "single_turn_pool.jsonl"
    pool.write_text(json.dumps(row) + "\n")
    built = tmp_path / "built"
    assert main(["eval", "build", f"path={pool}", f"output={built}", "cap=1.0"]) == 0
    assert "1 pairs of 1 questions" in capsys.readouterr().out
    assert (built / CARD).is_file()
    assert main(["eval", f"benchmark=fc-rewardbench:{built}", f"output={tmp_path / 'out'}"]) == 0
    assert load(tmp_path / "out").judged[0].benchmark == "FC-RewardBench"


def test_a_training_set_is_filtered_into_three_folders(finished, tmp_path, capsys):
    output = tmp_path / "filtered"
    words = ["filter", f"groups={finished / 'groups'}", f"model={finished / 'model'}", f"output={output}", "keep=3"]
    assert main(words) == 0
    sizes = {name: json.loads((output / name / CARD).read_text())["counts"] for name in ("top", "random", "all")}
    assert sizes["top"]["verdict"] == {"right": 3, "wrong": 0} or sizes["top"]["verdict"] == {"right": 3}
    table = json.loads((output / "filter.json").read_text())["selections"]
    assert table["top"]["mean score"] >= table["all"]["mean score"]
    assert main(words) == 0  # again: nothing to do


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["benchmark=best-of-n"], "best-of-n: it has no usual place; say benchmark=best-of-n:PATH"),
        (["benchmark=trbnch"], "did you mean 'trbench'"),
        (["benchmark=rotbench:/absent"], "/absent: no such file or folder"),
        (["benchmark=rotbench:{rotbench}", "baselines=false"], "nobody judges"),
        (["benchmark=rotbench:{rotbench}", "server=vllm"], "give model= as well"),
        (["benchmark=rotbench:{rotbench}", "chat_url=http://x/v1"], "give chat_model= as well"),
        ([], "nothing to judge; give benchmark="),
    ],
)
def test_what_cannot_be_judged_is_one_line(rotbench_file, tmp_path, fails, words, says):
    words = [word.format(rotbench=rotbench_file) for word in words]
    assert says in fails("eval", f"output={tmp_path / 'out'}", *words)


def test_a_report_without_results_is_told(tmp_path, fails):
    assert "give the output folder of `toolrm eval benchmark=`" in fails("report", f"path={tmp_path}")
