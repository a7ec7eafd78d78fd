"""`toolrm synth` from a plan to groups, with every kind of sampler, and `toolrm synth status`."""

from __future__ import annotations

import json
import re

import pytest

from tests.converters.tiny_policy import tiny_chat, tiny_policy
from tests.synth.made_tasks import write_tasks
from tests.synth.stub_server import chatted, serving
from toolrm_jax.cli import main
from toolrm_jax.commands import settings
from toolrm_jax.commands import synth as command
from toolrm_jax.commands.synth_local import ends
from toolrm_jax.commands.synth_models import Entry
from toolrm_jax.data.chat import Chat
from toolrm_jax.errors import ModelError
from toolrm_jax.preferences.groups import Recipe, make_groups
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.synth.grade import reader
from toolrm_jax.synth.journal import Journal, read_status
from toolrm_jax.synth.protocol import Answer, Outcome, Prompt, Sampling
from toolrm_jax.synth.recorded import RecordedSampler
from toolrm_jax.toolcalls.types import Context, Task

CONFIG = """
from toolrm_jax.commands.synth import Config, SamplingConfig
from toolrm_jax.commands.synth_models import ModelConfig

def config():
    return Config(
        output={output!r}, sources=("xlam={tasks}",), models=({models}), sampling=SamplingConfig(max_tokens=6),
    )
"""


@pytest.fixture
def synth(tmp_path, capsys):
    """Run the command on ten made questions with these models; gives the exit code, what it said and the output."""
    tasks = write_tasks(tmp_path / "xlam.json", 10)

    def run(models, *words):
        file = tmp_path / "config.py"
        file.write_text(CONFIG.format(output=str(tmp_path / "out"), tasks=tasks, models=models))
        code = main(["synth", f"config={file}", *words])
        said = capsys.readouterr()
        return code, said.out + said.err, tmp_path / "out"

    return run


async def right_or_wrong(body, stub):
    """The first sample calls rightly, the others an hour too late."""
    from aiohttp import web

    hours = int(re.search(r"clock (\d+)", body["messages"][-1]["content"])[1])
    texts = [
        f'<tool_call>\n{{"name": "read_clock", "arguments": {{"hours": {hours + late}}}}}\n</tool_call>'
        for late in range(4)
    ]
    return web.json_response(chatted(texts[: body["n"]]))


def test_answers_of_a_server_become_groups_that_preferences_take(synth):
    with serving(right_or_wrong) as stub:
        models = f"ModelConfig(name='Qwen/Qwen3-8B', servers=({stub.url!r},), format='hermes', served_as='local'),"
        code, said, output = synth(models)
    assert code == 0, said
    assert {body["model"] for body in stub.bodies} == {"local"}
    assert stub.bodies[0]["tools"][0]["function"]["name"] == "read.clock"
    groups = list(read_groups(output / "groups"))
    assert len(groups) == 10
    for group in groups:
        assert [verdict.right for verdict in group.verdicts] == [True, False, False, False]
        assert {candidate.maker for candidate in group.candidates} == {"model:Qwen/Qwen3-8B"}
    made = make_groups([group.task for group in groups], Recipe(), 0, {g.task.id: g.candidates for g in groups})
    assert len(made.groups) == 10
    summary = json.loads((output / "summary.json").read_text())["Qwen/Qwen3-8B"]
    assert (summary["answers"], summary["right"], summary["wrong"]) == (40, 10, {"incorrect parameter value": 30})
    # Once more: nothing is asked, the same groups are there.
    with serving(right_or_wrong, int(stub.url.rpartition(":")[2])) as again:
        code, said, _ = synth(models)
    assert (code, again.bodies) == (0, [])
    assert "40 requests, 0 of them still to be asked" in said
    words = [f"output={output}/pairs", f"data.sources=xlam={output.parent}/xlam.json", f"data.answers={output}/groups"]
    assert main(["prepare", "config=data/balanced", *words, "data.benchmarks=", "data.any_licence=true"]) == 0
    real = [one.maker for group in read_groups(output / "pairs" / "groups") for one in group.candidates[1:]]
    assert set(real) == {"model:Qwen/Qwen3-8B"}


def test_a_dry_run_prints_the_plan_and_touches_nothing(synth):
    server = "servers=('http://127.0.0.1:9',)"
    models = f"ModelConfig(name='a', {server}), ModelConfig(name='b', {server}, share=0.5, samples=2),"
    code, said, output = synth(models, "--dry-run")
    assert code == 0
    assert not output.exists()
    assert "10 contexts: 10 of xlam" in said
    rows = {line.split()[0]: line.split() for line in said.splitlines() if line[:2] in ("a ", "b ")}
    assert rows["a"][-4:] == ["10", "4", "40", "0"]
    share = int(rows["b"][-4])
    assert 0 < share < 10
    assert f"{40 + 2 * share} requests, {40 + 2 * share} of them still to be asked" in said


def test_recorded_answers_are_graded_like_any_other(synth, tmp_path):
    lines = [{"id": f"xlam/{n}", "text": f"[read.clock(hours={n + n % 2})]"} for n in range(9)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, said, output = synth(
        f"ModelConfig(name='m', recorded={str(tmp_path / 'a.jsonl')!r}, format='python', samples=1),"
    )
    assert code == 0, said
    verdicts = {group.task.id: group.verdicts[0].right for group in read_groups(output / "groups")}
    assert verdicts == {f"xlam/{n}": n % 2 == 0 for n in range(9)}
    assert "m: failed: 1 not recorded" in said
    assert main(["synth", "status", f"path={output}"]) == 0


def test_a_model_answers_in_this_process(synth, tmp_path, capsys):
    folder = tiny_policy(tmp_path / "model", num_hidden_layers=1, head_dim=16)
    code, said, output = synth(f"ModelConfig(name='m', weights={str(folder)!r}, samples=2),", "contexts=1")
    assert code == 0, said
    assert [group.task.source for group in read_groups(output / "groups")] == ["xlam"]
    summary = json.loads((output / "summary.json").read_text())["m"]
    assert (summary["answers"], summary["failed"]) == (2, 0)
    assert 0 < summary["tokens"] <= 2 * 6
    assert main(["synth", "status", f"path={output}"]) == 0
    assert re.search(r"^m \[weights [0-9a-f]{12}\] +2 +2 +0 +0 ", capsys.readouterr().out, re.MULTILINE)


def test_other_weights_under_the_same_name_are_another_model(synth, tmp_path):
    folders = [tiny_policy(tmp_path / str(seed), num_hidden_layers=1, head_dim=16) for seed in range(2)]
    assert synth(f"ModelConfig(name='m', weights={str(folders[0])!r}, samples=2),", "contexts=1")[0] == 0
    model = f"ModelConfig(name='m', weights={str(folders[1])!r}, samples=2),"
    _, said, output = synth(model, "contexts=1", "overwrite=true")
    assert "2 requests, 0 of them still to be asked" in said, "the same weights elsewhere are the same model"
    tensors = folders[1] / "model.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    code, said, _ = synth(model, "contexts=1", "overwrite=true")
    assert code == 0
    assert "2 requests, 2 of them still to be asked" in said
    assert len(read_status(output / "journal.sqlite")) == 2


def test_a_model_served_under_another_name_is_another_model(synth):
    with serving(right_or_wrong) as stub:
        for name, asked in (("a", 10), ("b", 20), ("a", 20), ("m", 30), ("", 30)):
            words = ("overwrite=true",) if asked > 10 else ()
            model = f"ModelConfig(name='m', servers=({stub.url!r},), format='hermes', served_as={name!r}),"
            assert synth(model, *words)[0] == 0
            assert len(stub.bodies) == asked


def test_other_recorded_answers_under_the_same_name_are_taken(synth, tmp_path):
    for hours in (0, 1):
        lines = [json.dumps({"id": "xlam/0", "text": f"[read.clock(hours={hours})]"})]
        (tmp_path / "a.jsonl").write_text("\n".join(lines))
        model = f"ModelConfig(name='m', recorded={str(tmp_path / 'a.jsonl')!r}, format='python', samples=1),"
        assert synth(model)[0] == 0
        (group,) = read_groups(tmp_path / "out" / "groups")
        assert group.verdicts[0].right == (hours == 0)


def test_calls_are_read_from_recorded_texts_and_messages_alike(synth, tmp_path):
    def text(hours):
        return f'<tool_call>\n{{"name": "read_clock", "arguments": {{"hours": {hours}}}}}\n</tool_call>'

    function = {"name": "read_clock", "arguments": '{"hours": 2}'}
    rows = [
        {"id": "xlam/0", "text": text(0)},
        {"id": "xlam/1", "message": {"content": text(1)}},
        {"id": "xlam/2", "message": {"content": None, "tool_calls": [{"type": "function", "function": function}]}},
        {"id": "xlam/3", "text": '[TOOL_CALLS] [{"name": "read.clock", "arguments": {"hours": 3}}]'},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = f"ModelConfig(name='m', recorded={str(tmp_path / 'a.jsonl')!r}, samples=1),"
    code, said, output = synth(model)
    assert code == 0, said
    rights = {group.task.id: group.verdicts[0].right for group in read_groups(output / "groups")}
    assert rights == {"xlam/0": True, "xlam/1": True, "xlam/2": True, "xlam/3": False}
    assert "WARNING: m: 1 of 4 answers were read as words, yet bear the marks of calls" in said


def test_a_server_without_a_parser_of_calls_is_told_of(synth):
    with serving(right_or_wrong) as stub:
        _, said, _ = synth(f"ModelConfig(name='m', servers=({stub.url!r},)),")
    assert "WARNING: m: 40 of 40 answers were read as words" in said


def test_bfcls_result_files_are_recorded_answers(synth, tmp_path):
    pytest.importorskip("bfcl_eval", reason="bfcl-eval has the questions: pip install --no-deps bfcl-eval")
    config = command.Config(output="", models=(), sources=("bfcl/live_simple",), contexts=4)
    tasks, _ = command.read_tasks(config)
    rows = []
    for number, task in enumerate(tasks[:3]):
        calls = [{call.name.replace(".", "_"): dict(call.arguments)} for call in task.reference.calls]
        rows.append({"id": task.id, "result": calls if number else "I cannot."})
    folder = tmp_path / "result" / "gpt-x" / "live"
    folder.mkdir(parents=True)
    (folder / "BFCL_v4_live_simple_result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = f"ModelConfig(name='m', recorded={str(tmp_path / 'result')!r}, samples=1),"
    code, said, output = synth(model, "sources=bfcl/live_simple", "contexts=4")
    assert code == 0, said
    rights = {group.task.id: group.verdicts[0].right for group in read_groups(output / "groups")}
    assert rights == {tasks[0].id: False, tasks[1].id: True, tasks[2].id: True}
    assert "m: failed: 1 not recorded" in said


def twins(path, answers):
    """Questions that read the same, each with a reference of its own."""
    rows = json.loads(path.read_text())
    for row, hours in zip(rows, answers):
        row["query"] = "clock 0"
        row["answers"] = json.dumps([{"name": "read.clock", "arguments": {"hours": hours}}])
    path.write_text(json.dumps(rows))


def test_tasks_with_one_context_are_asked_once_and_all_are_done(synth, tmp_path):
    twins(tmp_path / "xlam.json", range(10))
    with serving(right_or_wrong) as stub:
        models = f"ModelConfig(name='m', servers=({stub.url!r},), format='hermes'),"
        code, said, output = synth(models)
        assert (code, len(stub.bodies)) == (0, 1)
        assert "40 of 40 requests" in said
        (status,) = read_status(output / "journal.sqlite")
        assert (status.requests, status.answers) == (4, 4)
        assert "40 requests, 0 of them still to be asked" in synth(models)[1]
        assert len(stub.bodies) == 1
        assert read_status(output / "journal.sqlite") == [status]
    rights = [[verdict.right for verdict in group.verdicts] for group in read_groups(output / "groups")]
    assert [sum(some) for some in rights] == [1] * 4 + [0] * 6


def test_requests_of_an_earlier_task_are_passed_over_whether_or_not_it_has_its_answers_by_then(tmp_path):
    def write(context):
        return Prompt(body='{"messages": []}')

    tasks = [Task(id, "s", "c", "MIT", Context((), ())) for id in ("one", "two")]
    entry = Entry("m", "m", "", RecordedSampler({}), Sampling(), 2, tasks, write, reader("hermes"))
    passed = []
    for answered in (False, True):
        with Journal(tmp_path / f"{answered}.sqlite") as journal:
            plan = journal.plan("m", entry.options, entry.requests)
            for asked in entry.asked(journal, lambda *counts: passed.append(counts)):
                for request in asked.requests if answered else ():
                    journal.record(plan, Outcome(asked.task, request, Answer("yes", "stop")))
                journal.settle()
    assert passed == [(2, 2)] * 2


def test_tasks_with_one_context_have_recorded_answers_of_their_own(synth, tmp_path):
    twins(tmp_path / "xlam.json", range(10))
    lines = [{"id": f"xlam/{n}", "text": f"[read.clock(hours={n})]"} for n in range(10)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, said, output = synth(
        f"ModelConfig(name='m', recorded={str(tmp_path / 'a.jsonl')!r}, format='python', samples=1),"
    )
    assert code == 0, said
    assert all(group.verdicts[0].right for group in read_groups(output / "groups"))


def test_a_dry_run_changes_no_journal_also_while_another_run_writes_it(synth):
    with serving(right_or_wrong) as stub:
        models = f"ModelConfig(name='m', servers=({stub.url!r},), format='hermes'),"
        code, _, output = synth(models)
        assert code == 0
        before, bytes_before = read_status(output / "journal.sqlite"), (output / "journal.sqlite").read_bytes()
        files = {file for file in output.rglob("*") if not file.name.endswith(("-wal", "-shm"))}
        with Journal(output / "journal.sqlite"):
            code, said, _ = synth(models, "--dry-run", "contexts=5", "overwrite=true")
        assert code == 0, said
        assert "20 requests, 0 of them still to be asked" in said
        assert len(stub.bodies) == 10
    assert read_status(output / "journal.sqlite") == before
    assert (output / "journal.sqlite").read_bytes() == bytes_before
    assert {file for file in output.rglob("*") if not file.name.endswith(("-wal", "-shm"))} == files


def test_a_resumed_run_whose_rest_is_refused_records_that_and_ends(synth, tmp_path):
    async def refuses_most(body, stub):
        from aiohttp import web

        number = int(re.search(r"clock (\d+)", body["messages"][-1]["content"])[1])
        return web.Response(status=400, text="no") if number else await right_or_wrong(body, stub)

    with serving(refuses_most) as stub:
        models = f"ModelConfig(name='m', servers=({stub.url!r},), format='hermes', at_once=1),"
        words = ("contexts=30", f"sources=xlam={write_tasks(tmp_path / 'more.json', 30)}")
        code, said, _ = synth(models, *words)
        assert code == 0, said
        code, said, output = synth(models, *words, "retry_failed=true")
        assert code == 0, said
        assert "asked again: 116 requests that had failed" in said
    assert len(read_groups(output / "groups")) == 1


def test_limits_of_models_in_this_process_can_be_set(synth, tmp_path):
    folder = tiny_policy(tmp_path / "model", num_hidden_layers=1, head_dim=16)
    models = f"ModelConfig(name='m', weights={str(folder)!r}, samples=1),"
    code, said, _ = synth(models, "contexts=1", "limits.cache_gib=-1")
    assert code == 2
    assert re.search(r"limits.cache_gib=-1\S*: give more than 0", said)
    code, said, output = synth(models, "contexts=1", "limits.cache_gib=1e-6")
    assert (code, "no group to write; dropped: 1 no answer" in said) == (2, True)
    (status,) = read_status(output / "journal.sqlite")
    assert (status.answers, status.failed) == (0, 1)
    assert re.fullmatch(r"context of \d+ tokens .* limits.cache_gib is 1e-06", *status.reasons)


def test_a_model_stops_by_any_token_that_its_own_settings_name(tmp_path):
    folder = tiny_policy(tmp_path / "model", num_hidden_layers=1, head_dim=16)
    chat = Chat.load(folder)
    file = folder / "generation_config.json"
    file.unlink(missing_ok=True)
    assert ends(folder, chat) == (chat.end_of_turn_id,)
    for named, found in (([7, chat.end_of_turn_id, 3], (3, 7)), (5, (5,)), (None, ()), (0, (0,))):
        file.write_text(json.dumps({"eos_token_id": named}))
        assert ends(folder, chat) == (chat.end_of_turn_id, *found)
    for content in ("{", "[]", '{"eos_token_id": "x"}', '{"eos_token_id": [true]}', '{"eos_token_id": [999999]}'):
        file.write_text(content)
        with pytest.raises(ModelError, match=r"generation_config.json: .*mend or remove it"):
            ends(folder, chat)


def test_our_own_template_is_used_where_the_server_gets_token_ids(synth, tmp_path):
    chat = tiny_chat(tmp_path / "tokenizer")
    with serving() as stub:
        weights = str(tmp_path / "tokenizer")
        code, said, _ = synth(
            f"ModelConfig(name='m', servers=({stub.url!r},), way='generate', weights={weights!r}, samples=1),"
        )
    assert code == 0, said
    texts = [chat.decode(body["input_ids"]) for body in stub.bodies]
    assert all(text.endswith("<|im_start|>assistant\n") and "read.clock" in text for text in texts)
    assert {tuple(body["sampling_params"]["stop_token_ids"]) for body in stub.bodies} == {(chat.end_of_turn_id,)}


def test_failed_requests_are_asked_again_only_where_told(synth):
    async def refuses_one(body, stub):
        from aiohttp import web

        if stub.counts["kind"] == 0 and "clock 3" in json.dumps(body):
            return web.Response(status=400, text="no")
        return await right_or_wrong(body, stub)

    with serving(refuses_one) as stub:
        models = f"ModelConfig(name='m', servers=({stub.url!r},), format='hermes'),"
        _, said, output = synth(models)
        assert "m: failed: 4 HTTP 400: no" in said
        before = len(stub.bodies)
        stub.counts["kind"] = 1
        synth(models)
        assert len(stub.bodies) == before
        code, said, _ = synth(models, "retry_failed=true")
        assert len(stub.bodies) == before + 1
    assert code == 0
    assert "asked again: 4 requests that had failed" in said
    assert len(read_groups(output / "groups")) == 10


def test_other_settings_do_not_replace_groups_unless_told_and_are_refused_before_anything_is_asked(synth):
    with serving(right_or_wrong) as stub:
        models = f"ModelConfig(name='m', servers=({stub.url!r},), format='hermes'),"
        assert synth(models)[0] == 0
        before = len(stub.bodies)
        code, said, _ = synth(models, "sampling.temperature=0.5")
        assert (code, len(stub.bodies)) == (2, before)
        assert "was made with sampling.temperature=1.0, now 0.5" in said
        assert synth(models, "sampling.temperature=0.5", "overwrite=true")[0] == 0
        assert len(stub.bodies) == 2 * before


def test_a_setting_of_one_model_may_be_given_on_the_command_line(synth):
    with serving(right_or_wrong) as stub:
        models = "ModelConfig(name='m', servers=('http://127.0.0.1:9',), format='hermes'),"
        code, said, _ = synth(models, f"models.0.servers={stub.url}", "models.0.samples=2")
    assert code == 0, said
    assert {body["n"] for body in stub.bodies} == {2}


@pytest.mark.parametrize(
    ("models", "words", "says"),
    [
        ("", (), "models: name at least one"),
        (2 * "ModelConfig(name='a', servers=('http://a',)),", (), "comes twice"),
        ("ModelConfig(name='a'),", (), "model 'a': give weights="),
        ("ModelConfig(name='a', servers=('http://a',), way='rpc'),", (), "way=rpc: say chat or generate"),
        ("ModelConfig(name='a', servers=('a:1',)),", (), "no address"),
        ("ModelConfig(name='a', servers=('http://a',), share=0.0),", (), "share=0.0"),
        ("ModelConfig(name='a', servers=('http://a',), format='xml'),", (), "format=xml"),
        ("ModelConfig(name='a', servers=('http://a',), key_variable='ABSENT_KEY'),", (), "ABSENT_KEY is not set"),
        ("ModelConfig(name='a', servers=('http://a',)),", ("sampling.top_p=0",), "top_p=0.0"),
        ("ModelConfig(name='a', servers=('http://a',)),", ("contexts=0",), "contexts=0"),
        ("ModelConfig(name='a', servers=('http://a',)),", ("modles.0.name=b",), "unknown setting 'modles.0.name'"),
        ("ModelConfig(name='a', servers=('http://a',)),", ("models.0.nmae=b",), "nmae"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_told_in_one_line(synth, models, words, says):
    code, said, output = synth(models, *words)
    assert code == 2
    assert says in said.strip().splitlines()[-1]
    assert not (output / "journal.sqlite").exists()


def test_a_key_is_read_from_the_environment_and_written_nowhere(synth, monkeypatch):
    monkeypatch.setenv("STUB_KEY", "sk-very-secret")
    with serving(right_or_wrong) as stub:
        _, said, output = synth(f"ModelConfig(name='m', servers=({stub.url!r},), key_variable='STUB_KEY'),")
    assert stub.headers[0]["Authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in said
    for file in output.rglob("*"):
        assert file.is_dir() or b"sk-very-secret" not in file.read_bytes()


def test_the_status_of_no_journal_is_told(tmp_path, capsys):
    assert main(["synth", "status", f"path={tmp_path}"]) == 2
    assert "no journal there" in capsys.readouterr().err
    with Journal(tmp_path / "journal.sqlite"):
        pass
    assert main(["synth", "status", f"path={tmp_path}"]) == 0


@pytest.mark.parametrize("name", ["synth_small", "synth_servers"])
def test_the_named_configs_load(name):
    found = settings.load_config(name, command.Config)
    assert len({model.name for model in found.models}) == len(found.models)
    found.sampling.sampling(0)
    found.patience.patience()
