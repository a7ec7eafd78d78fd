"""`toolrm eval benchmark=…` and `toolrm report`: whole, cut short, and refused."""

import json
import re

import pytest

from tests.converters.engine_stand_in import serving
from tests.evals.chat_stand_in import chat_server
from toolrm_jax.cli import main
from toolrm_jax.evals.results import load


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
    assert "### Single-order accuracy" in (output / "report.md").read_text()
    assert not (output / "model_index.json").exists()  # nobody but baselines


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
    (index,) = json.loads((output / "model_index.json").read_text())
    assert index["results"][0]["dataset"]["name"] == "pairs, non-live"
    (metric,) = index["results"][0]["metrics"]
    assert metric["value"] == round(100 * judged.results[0].measures[0].value, 2)


def test_a_question_too_long_for_the_model_is_lost_counted_and_does_not_stop_the_others(finished, pairs, tmp_path):
    rows = [json.loads(line) for line in pairs.read_text().splitlines()][:2]
    rows[1]["messages"][0]["content"] += " Hurry!" * 2000
    longer = tmp_path / "longer.jsonl"
    longer.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output, model = tmp_path / "out", finished / "model"
    words = [f"model={model}", f"benchmark=fc-rewardbench:{longer}", f"output={output}", "agreement=2"]
    assert main(["eval", *words, f"backbone={model}"]) == 0
    judged = load(output).judged[0]
    unread = [result for result in judged.results if "could not be read" in result.note]
    assert [result.judge for result in unread] == [
        "reward model",
        "reward model + hand rule",
        "likelihood (sum)",
        "likelihood (sum, per-call correction)",
        "likelihood (mean)",
        "likelihood (mean) + hand rule",
    ]
    assert all(result.note.startswith("2 answers in 1 of 2 groups") for result in unread)
    assert all(result.measures[0].value <= 0.5 for result in unread)
    assert {m.n for m in judged.diagnosis if m.part == "agreement"} == {2, 1}
    # Without benchmark= the same rule holds.
    assert main(["eval", f"model={model}", f"pairs={longer}", f"output={tmp_path / 'plain'}"]) == 0
    run = json.loads((tmp_path / "plain" / "report.json").read_text())["run"]
    assert "2 answers in 1 of 2 groups could not be read" in run["evaluations"][0]["note"]


def test_two_benchmarks_of_one_name_are_told_apart_by_their_paths_and_one_given_twice_is_refused(
    pairs, tmp_path, fails
):
    copy = tmp_path / "other" / pairs.name
    copy.parent.mkdir()
    copy.write_text(pairs.read_text().splitlines()[0] + "\n")
    words = f"fc-rewardbench:{pairs},fc-rewardbench:{copy}"
    assert main(["eval", f"benchmark={words}", f"output={tmp_path / 'out'}"]) == 0
    assert [(one.benchmark, one.groups) for one in load(tmp_path / "out").judged] == [
        (f"pairs, non-live (fc-rewardbench:{pairs})", 2),
        ("pairs, live", 1),
        (f"pairs, non-live (fc-rewardbench:{copy})", 1),
    ]
    said = fails("eval", f"benchmark=fc-rewardbench:{pairs},fc-rewardbench:{pairs}", f"output={tmp_path / 'out'}")
    assert "is there twice; name every benchmark once" in said


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


def test_a_scalar_server_judges_by_the_models_tokens_and_its_death_is_told_not_scored(
    finished, pairs, tmp_path, fails, capsys
):
    output = tmp_path / "out"
    words = [f"model={finished / 'model'}", f"benchmark=fc-rewardbench:{pairs}", f"output={output}", "server=sglang"]
    with serving("sglang", lambda row: float(len(row))) as (url, seen):
        assert main(["eval", *words, f"url={url}"]) == 0
        assert sum(seen) == 4 + 6  # the probes, and the answers of three pairs
    judged = load(output).judged
    assert judged[0].results[0].judge == "sglang server"
    capsys.readouterr()
    other = tmp_path / "other"
    said = fails("eval", *words[:2], words[3], f"url={url}", f"output={other}")
    assert "no answer" in said
    assert not (other / "results.json").exists()
    # What the dead server had answered is still there for the same command.
    assert main(["eval", *words, f"url={url}"]) == 0


def test_a_server_is_asked_on_past_a_question_that_is_too_long_for_it(finished, pairs, tmp_path):
    words = [f"model={finished / 'model'}", f"benchmark=fc-rewardbench:{pairs}", "server=sglang"]
    sizes = []
    with serving("sglang", lambda row: float(sizes.append(len(row)) or len(row))) as (url, _):
        assert main(["eval", *words, f"output={tmp_path / 'all'}", f"url={url}"]) == 0
    with serving("sglang", lambda row: float(len(row)), longest=max(sizes) - 1) as (url, _):
        assert main(["eval", *words, f"output={tmp_path / 'some'}", f"url={url}"]) == 0
    results = [one.results[0] for one in load(tmp_path / "some").judged]
    assert [result.judge for result in results] == ["sglang server"] * 2
    assert any("could not be read" in result.note for result in results)


def test_what_one_served_model_gave_is_not_taken_for_anothers(finished, pairs, tmp_path, fails):
    output = tmp_path / "out"
    words = [f"model={finished / 'model'}", f"benchmark=fc-rewardbench:{pairs}", f"output={output}", "server=sglang"]
    with serving("sglang", lambda row: float(len(row))) as (url, _):
        assert main(["eval", *words, f"url={url}"]) == 0
        assert main(["eval", *words, f"url={url}"]) == 0
    port = int(url.rpartition(":")[2])
    with serving("sglang", lambda row: -float(len(row)), port) as (url, _):
        said = fails("eval", *words, f"url={url}")
        assert "scores otherwise" in said
        assert "name another output=" in said
        assert main(["eval", *words[:2], f"output={tmp_path / 'other'}", words[3], f"url={url}"]) == 0


def test_a_language_model_compares_pairs_in_both_orders_plays_off_the_rest_and_what_it_did_not_answer_is_told(
    pairs, rotbench_file, tmp_path, fails
):
    def answer(prompt, count):
        if "Köln" in prompt:
            return 400, "This model's maximum context length is 8 tokens."
        return "<choice>\n1\n</choice>" if "translate" not in prompt else "I cannot say."

    words = ["baselines=false", "chat_model=m", f"output={tmp_path / 'out'}"]
    both = f"benchmark=fc-rewardbench:{pairs},rotbench:{rotbench_file}"
    with chat_server(answer, [{"id": "m", "root": "a"}]) as (url, _):
        assert main(["eval", both, *words, f"chat_url={url}"]) == 0
    single, orders = load(tmp_path / "out").judged[0].results
    assert single.note == (
        "of 4 questions 0 were answered without a choice, 2 were too long for the judge: these count as wrong"
    )
    # One of two pairs was read; saying always 1 is half right of it, and never in both orders.
    assert (single.measures[0].value, orders.measures[0].value) == (0.25, 0.0)
    (played,) = load(tmp_path / "out").judged[2].results
    assert played.note.startswith("by one knockout among all distinct answers")
    asked = re.search(r"of (\d+) questions (\d+) were answered without a choice", played.note)
    assert asked[1] == asked[2] != "0"
    # The index of the model card is of this judge.
    (index,) = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert index["name"] == "m"
    # Another model behind the address is not taken for it.
    with chat_server(answer, [{"id": "m", "root": "b"}], port=int(re.search(r":(\d+)/", url)[1])) as (url, _):
        assert "serves {'id': 'm', 'root': 'b'}" in fails("eval", both, *words, f"chat_url={url}")


def test_what_the_scores_depend_on_is_not_told_of_a_baseline_in_a_language_models_place(pairs, tmp_path):
    with chat_server(lambda prompt, count: "<choice>\n1\n</choice>") as (url, _):
        words = [f"benchmark=fc-rewardbench:{pairs}", f"output={tmp_path / 'out'}", f"chat_url={url}", "chat_model=m"]
        assert main(["eval", *words]) == 0
    judged = load(tmp_path / "out").judged[0]
    assert [result.judge for result in judged.results][:3] == ["m", "m", "random"]
    assert (judged.diagnosis, judged.drawings, judged.mistakes) == ((), (), ())


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
