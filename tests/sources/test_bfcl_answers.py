import collections
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.errors import DataError
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.bfcl_answers import (
    OTHER_FILE,
    decode,
    file_category,
    model_name,
    question_id,
    read_answers,
)
from toolrm_jax.sources.bfcl_source_text import parse_source
from toolrm_jax.sources.drops import Drops
from toolrm_jax.toolcalls.types import Call, Candidate

UNDECODABLE = {
    # repository: (lines, not decodable where a call is right)
    "HuanzhiMao+BFCL-Result": (78948, 6116),
    "ShishirPatil+gorilla@pr1205": (546, 106),
    "ShishirPatil+gorilla@pr1319": (1762, 338),
    "ShishirPatil+gorilla@pr1344": (1762, 96),
    "bbrowning+bfcl-vllm-results": (15754, 10),
    "gianmarcoalessio+AAFV": (11256, 722),
    "vgangal101+gorilla_bfcl": (4664, 82),
}

PLAY = Call("spotify.play", {"artist": "Taylor Swift", "duration": 20})
ALSO = Call("spotify.play", {"artist": "Maroon 5", "duration": 15})
OFFERED = ("spotify.play",)


@pytest.mark.parametrize(
    "result",
    [
        '[spotify.play(artist="Taylor Swift", duration=20), spotify.play(artist="Maroon 5", duration=15)]',
        "spotify.play(artist='Taylor Swift', duration=20), spotify.play(artist='Maroon 5', duration=15)",
        "spotify.play(artist='Taylor Swift', duration=20); spotify.play(artist='Maroon 5', duration=15);",
        "```python\n[spotify.play(artist='Taylor Swift', duration=20), "
        "spotify.play(artist='Maroon 5', duration=15)]\n```",
        "```\nspotify.play(artist='Taylor Swift', duration=20), "
        "spotify.play(artist='Maroon 5', duration=15)\n``` Done.",
        "['spotify.play(artist=\"Taylor Swift\", duration=20)', 'spotify.play(artist=\"Maroon 5\", duration=15)']",
        '<tool_call>\n{"arguments": {"artist": "Taylor Swift", "duration": 20}, "name": "spotify_play"}\n</tool_call>\n'
        '<tool_call>\n{"arguments": {"artist": "Maroon 5", "duration": 15}, "name": "spotify_play"}\n</tool_call>\n',
        '<function_call> {"name": "spotify_play", "arguments": {"artist": "Taylor Swift", "duration": 20}} '
        '<function_call> {"name": "spotify_play", "arguments": {"artist": "Maroon 5", "duration": 15}}',
        '\n{"tool_calls": [{"name": "spotify.play", "arguments": {"artist": "Taylor Swift", "duration": 20}}, '
        '{"name": "spotify.play", "arguments": {"artist": "Maroon 5", "duration": 15}}]}',
        [
            {"spotify_play": '{"artist": "Taylor Swift", "duration": 20}'},
            {"spotify_play": '{"artist": "Maroon 5", "duration": 15}'},
        ],
        [
            {"spotify_play": {"artist": "Taylor Swift", "duration": 20}},
            {"spotify_play": {"artist": "Maroon 5", "duration": 15}},
        ],
    ],
)
def test_every_layout_of_the_same_two_calls(result):
    candidate = decode(result, "parallel", OFFERED, "model:m")
    assert candidate.calls == (PLAY, ALSO)
    assert (candidate.maker, candidate.fault, candidate.text) == ("model:m", None, "")
    assert candidate.raw == result or json.loads(candidate.raw) == result


def test_name_then_json_is_glms_layout():
    assert decode('spotify_play\n{"artist": "Maroon 5", "duration": 15}', "parallel", OFFERED).calls == (ALSO,)


def test_underscores_become_dots_only_where_the_interface_took_them_and_the_name_is_on_offer():
    assert decode([{"spotify_play": {}}], "multiple", ()).calls == (Call("spotify_play", {}),)
    assert decode([{"get_air": {}}], "multiple", ("get_air", "spotify.play")).calls == (Call("get_air", {}),)
    assert decode("[spotify_play()]", "multiple", OFFERED).calls == (Call("spotify_play", {}),)


def test_markdowns_escaped_underscores_are_undone():
    assert decode("[dice\\_roll(desired\\_sum=7)]", "multiple").calls == (Call("dice_roll", {"desired_sum": 7}),)


def test_java_and_javascript_values_are_source_text():
    written = '[A.f(x=new int[]{1, 2}, y="a, b", m=new HashMap<String, Object>() {{ put("k", 1); }}, z=true, n=3L)]'
    values = {
        "x": "new int[]{1, 2}",
        "y": "a, b",
        "m": 'new HashMap<String, Object>() {{ put("k", 1); }}',
        "z": "true",
        "n": "3L",
    }
    assert decode(written, "simple_java").calls == (Call("A.f", values),)
    assert decode([{"A_f": '{"n": 3, "y": "a"}'}], "simple_javascript", ("A.f",)).calls == (
        Call("A.f", {"n": "3", "y": "a"}),
    )


@pytest.mark.parametrize(
    "result",
    [
        "I cannot do that.",
        "[{'name': 'f', 'arguments': {}}]",
        "[f(1)]",
        [{"f": "{1}"}],
        ["```f()```"],
        [{"f": {}, "g": {}}],
        [[1]],
        [{"f": 3}],
        3,
        None,
        {"f": {}},
        '{"tool_calls": 3}',
        '{"tool_calls": [3]}',
        "<function_call> {",
        "<tool_call>\n{'name': 'f'}\n</tool_call>",
    ],
)
def test_what_is_no_set_of_calls_is_a_fault_and_where_no_call_may_be_right_a_reply(result):
    raw = result if isinstance(result, str) else json.dumps(result)
    faulty = decode(result, "simple_python")
    assert (faulty.calls, faulty.text, faulty.raw) == ((), "", raw)
    assert faulty.fault
    assert "\n" not in faulty.fault
    assert decode(result, "irrelevance", maker="model:m") == Candidate(text=raw, maker="model:m", raw=raw)


@pytest.mark.parametrize("result", [[], "", "[]", '<function_call> {"name": "no_function", "arguments": {}}'])
def test_an_empty_set_of_calls_is_none_of_these(result):
    candidate = decode(result, "simple_python")
    assert (candidate.calls, candidate.fault) == ((), None)


def test_geminis_texts_between_calls_are_kept():
    candidate = decode(["First ", {"f": "{}"}, "then."], "parallel")
    assert (candidate.calls, candidate.text) == ((Call("f", {}),), "First then.")


@settings(max_examples=60, deadline=None)
@given(
    st.text("[]{}()<>='\",;\\_`fgx1. \n") | st.lists(st.text() | st.dictionaries(st.text(), st.text(), max_size=2)),
    st.sampled_from(("parallel", "simple_java", "irrelevance")),
)
def test_no_result_raises(result, category):
    candidate = decode(result, category, OFFERED)
    assert candidate.fault is None or not candidate.calls


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("f(1)", "a value has no name"),
        ("f(a=1, a=2)", "a parameter is given twice"),
        ("x", "not a call"),
        ("f(a=(1)", "a bracket is not closed"),
        ("f(a=1))(", "a bracket is closed"),
        ("f(a=" + "[" * 65 + "]" * 65 + ")", "nested deeper"),
        ("f(a=" + "1" * (1 << 20) + ")", "longer than"),
    ],
)
def test_source_text_that_is_no_list_of_calls(text, says):
    assert says in parse_source(text).fault


def test_ids_names_and_categories_of_all_years():
    assert question_id("java_3", "simple_java") == "simple_java_3"
    assert question_id("parallel_multiple_function_7", "parallel_multiple") == "parallel_multiple_7"
    assert question_id(12, "multiple") == "multiple_12"
    assert question_id("live_simple_3-1-0", "live_simple") == "live_simple_3-1-0"
    assert file_category("gorilla_openfunctions_v1_test_multiple_function.json") == "multiple"
    assert file_category("gorilla_openfunctions_v1_test_relevance_result.json") == "irrelevance"
    assert file_category("BFCL_v3_java_result.json") == "simple_java"
    assert file_category("BFCL_v4_live_relevance_result.json") == "live_relevance"
    with pytest.raises(DataError, match="multi_turn"):
        file_category("BFCL_v4_multi_turn_base_result.json")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("2024-08-11/result/gpt-4o/x.json", "gpt-4o@2024-08-11"),
        ("results/v0.11.0/result/gpt-oss/non_live/x.json", "gpt-oss@v0.11.0"),
        ("data/result-agent-v001/Qwen/x.json", "Qwen@agent-v001"),
        ("berkeley-function-call-leaderboard/result/Qwen/live/x.json", "Qwen"),
    ],
)
def test_models_are_told_apart_by_their_folders(tmp_path, path, name):
    assert model_name(tmp_path / path) == name


def test_a_folder_gives_its_answers_with_v4_ids(bfcl_eval, tmp_path):
    folder = tmp_path / "2024-07-20/result/m"
    folder.mkdir(parents=True)
    rows = [{"idx": 1, "result": "[f()]"}, {"idx": 2, "result": "no\u2028thing"}]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "gorilla_openfunctions_v1_test_simple.json").write_text(text, encoding="utf-8")
    answers = list(read_answers(tmp_path))
    assert [(question, model) for question, model, _ in answers] == [
        ("simple_python_1", "m@2024-07-20"),
        ("simple_python_2", "m@2024-07-20"),
    ]
    assert answers[0][2].calls == (Call("f", {}),)
    assert answers[1][2].fault


def put(folder, name, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_the_layout_of_v4_is_read_with_everything_that_lies_beside_the_single_turns(bfcl_eval, tmp_path):
    result, score = tmp_path / "v0/result/m", tmp_path / "v0/score/m"
    put(result / "non_live", "BFCL_v4_multiple_result.json", {"id": "multiple_1", "result": "[f()]"})
    put(result / "live", "BFCL_v4_live_simple_result.json", {"id": "live_simple_3-1-0", "result": [{"f": {}}]})
    others = ["multi_turn_base", "memory_kv", "web_search_base", "exec_simple", "rest", "sql", "format_sensitivity"]
    for other in others:
        put(result / "other", f"BFCL_v4_{other}_result.json", {"id": f"{other}_0", "result": [[]]})
    put(score / "non_live", "BFCL_v4_multiple_score.json", {"accuracy": 1.0})
    put(tmp_path, "report.json", {"no": "file of BFCL's"})
    drops = Drops()
    answers = list(read_answers(tmp_path, drops))
    assert [(question, model) for question, model, _ in answers] == [
        ("live_simple_3-1-0", "m@v0"),
        ("multiple_1", "m@v0"),
    ]
    assert drops.counts == {OTHER_FILE: len(others) + 1}
    with pytest.raises(DataError, match="of its 7 BFCL files none is of a single-turn category"):
        list(read_answers(result / "other"))


def test_broken_lines_and_empty_folders_are_named(bfcl_eval, tmp_path):
    with pytest.raises(DataError, match="no BFCL result files"):
        list(read_answers(tmp_path))
    path = tmp_path / "BFCL_v4_multiple_result.json"
    path.write_text('{"id": "multiple_0", "result": "x"}\n{"id": "multiple_1"}\n')
    with pytest.raises(DataError, match=r"result\.json:2: not an answer"):
        list(read_answers(path))


def test_a_sample_of_the_published_files_is_read_whole(bfcl_eval, bfcl_outputs):
    files = sorted((bfcl_outputs / "raw").rglob("*.json"))
    assert len(files) == 741
    known = {task.id for task in bfcl.read()}
    for path in random.Random(0).sample(files, 40):
        lines = path.read_text(encoding="utf-8").count("\n")
        answers = list(read_answers(path))
        assert abs(len(answers) - lines) <= 1
        assert {question for question, _, _ in answers} <= known


@pytest.mark.slow
def test_every_published_line_is_read_and_the_undecodable_are_as_many_as_known(bfcl_eval, bfcl_outputs):
    lines, faults = collections.Counter(), collections.Counter()
    for folder in sorted((bfcl_outputs / "raw").iterdir()):
        for _, _, candidate in read_answers(folder):
            lines[folder.name] += 1
            faults[folder.name] += candidate.fault is not None
    assert {name: (lines[name], faults[name]) for name in lines} == UNDECODABLE
    assert sum(lines.values()) == 114_692
