"""FC-RewardBench as published (Arrow, parquet; text or nested columns) and our pair files become the same groups."""

import json
import sys

import pytest

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals import fc_rewardbench
from toolrm_jax.toolcalls.types import Call, ErrorType

DOC = {
    "name": "geo.area",
    "description": "Area.",
    "parameters": {
        "type": "dict",
        "properties": {"base": {"type": "integer"}, "height": {"type": "float", "description": "in m"}},
        "required": ["base"],
    },
}
ROW = {
    "tools": [DOC],
    "conversation": [{"role": "user", "content": "Area, base 3?"}],
    "chosen_output": [{"geo.area": {"base": 3}}],
    "rejected_output": [{"geo.area": {"base": 4}}, {"other": {"x": 1}}],
    "error_type": "Incorrect number of function calls",
    "model_name": "m-7b",
    "test_category": "live_simple",
    "test_id": "live_simple_0",
}
PAIR = {
    "id": "simple_python_0",
    "category": "simple_python",
    "messages": ROW["conversation"],
    "functions": [DOC],
    "right": ROW["chosen_output"],
    "right_from": "model",
    "wrong": [],
    "wrong_raw": None,
    "wrong_models": ["m-7b", "n-1b"],
    "error_type": "incorrect number of functions",
    "bfcl_error": "no call",
}
NESTED = ("tools", "conversation", "chosen_output", "rejected_output")


def as_text(row):
    return {name: json.dumps(value) if name in NESTED else value for name, value in row.items()}


def save(folder, rows, kind="stream"):
    """Rows as `datasets.save_to_disk` writes them (Arrow's stream format), or in one of the other two forms."""
    arrow = pytest.importorskip("pyarrow")
    table = arrow.Table.from_pylist(rows)
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, folder / "test-00000-of-00001.parquet")
        return folder
    make = arrow.ipc.new_stream if kind == "stream" else arrow.ipc.new_file
    with make(folder / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text("{}")
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.mark.parametrize("kind", ["stream", "file", "parquet"])
@pytest.mark.parametrize("form", [as_text, dict])
def test_the_published_folder_is_read_whatever_its_columns_form(tmp_path, kind, form):
    found = fc_rewardbench.read(save(tmp_path / "test", [form(ROW)], kind))
    (group,) = found.groups
    (tool,) = group.task.context.tools
    assert tool.parameters == {
        "type": "object",
        "properties": {"base": {"type": "integer"}, "height": {"type": "number", "description": "in m"}},
        "required": ["base"],
    }
    assert [(m.role, m.content) for m in group.task.context.messages] == [("user", "Area, base 3?")]
    right, wrong = group.candidates
    assert right.calls == (Call("geo.area", {"base": 3}),)
    assert wrong.calls == (Call("geo.area", {"base": 4}), Call("other", {"x": 1}))
    assert (right.maker, wrong.maker) == ("reference", "model:m-7b")
    assert [v.right for v in group.verdicts] == [True, False]
    assert group.verdicts[1].error_type is ErrorType.NUMBER
    assert (group.task.id, group.task.category, group.task.source) == (
        "live_simple_0",
        "live_simple",
        "fc-reward-bench",
    )
    assert found.name == "FC-RewardBench"


def test_arguments_that_only_other_rows_have_do_not_appear(tmp_path):
    """Arrow gives each struct the fields of all rows, null where a row had none."""
    other = {**ROW, "test_id": "2", "chosen_output": [{"f": {"deep": {"a": 1}}}]}
    groups = fc_rewardbench.read(save(tmp_path, [ROW, other])).groups
    assert [g.candidates[0].calls for g in groups] == [
        (Call("geo.area", {"base": 3}),),
        (Call("f", {"deep": {"a": 1}}),),
    ]


def test_a_null_that_a_model_wrote_as_text_stays(tmp_path):
    row = as_text({**ROW, "rejected_output": [{"geo.area": {"base": None}}]})
    (group,) = fc_rewardbench.read(save(tmp_path, [row])).groups
    assert group.candidates[1].calls == (Call("geo.area", {"base": None}),)


def test_files_and_rows_are_read_in_order_and_caches_left_out(tmp_path):
    rows = [as_text({**ROW, "test_id": str(k)}) for k in range(3)]
    save(tmp_path, rows)
    (tmp_path / "cache-1234.arrow").write_bytes(b"none of ours")
    assert [g.task.id for g in fc_rewardbench.read(tmp_path).groups] == ["0", "1", "2"]


def test_a_rejected_output_that_is_no_list_of_calls_keeps_its_text(tmp_path):
    texts = ["geo.area(base=", '{"geo.area": {"base": 3}}', '["geo.area"]']
    rows = [{**as_text(ROW), "rejected_output": text, "error_type": "Parsing error"} for text in texts]
    for text, group in zip(texts, fc_rewardbench.read(save(tmp_path, rows)).groups):
        wrong = group.candidates[1]
        assert json.loads(wrong.raw) == json.loads(text) if text[0] in "{[" else wrong.raw == text
        assert (wrong.calls, wrong.fault is None) == ((), False)
        assert group.verdicts[1].error_type is ErrorType.FORMAT


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Parameter value error", ErrorType.VALUE),
        ("Parameter value type error", ErrorType.TYPE),
        ("Incorrect function name", ErrorType.NAME),
        ("Missing optional parameter", ErrorType.MISSING_OPTIONAL),
        ("missing_required_parameter", ErrorType.MISSING_REQUIRED),
        ("Unexpected parameter", ErrorType.UNEXPECTED),
        ("incorrect output format", ErrorType.FORMAT),
    ],
)
def test_error_types_have_the_papers_names_or_the_cards(tmp_path, name, kind):
    (group,) = fc_rewardbench.read(save(tmp_path, [as_text({**ROW, "error_type": name})])).groups
    assert group.verdicts[1].error_type is kind


def jsonl(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_our_pairs_become_groups_too(tmp_path):
    raw = {**PAIR, "id": "2", "wrong": None, "wrong_raw": "I cannot", "error_type": "incorrect output format"}
    none, faulty = fc_rewardbench.read(jsonl(tmp_path / "p.jsonl", PAIR, raw)).groups
    assert none.candidates[0].calls == (Call("geo.area", {"base": 3}),)
    assert (none.candidates[1].calls, none.candidates[1].fault) == ((), None)
    assert none.candidates[1].maker == "model:m-7b,n-1b"
    assert none.verdicts[1].reason == "no call"
    assert (faulty.candidates[1].raw, faulty.candidates[1].fault) == ("I cannot", "not a list of calls")


def test_parts_by_category_and_by_parsing(tmp_path):
    rows = [
        PAIR,
        {**PAIR, "id": "2", "category": "live_multiple"},
        {**PAIR, "id": "3", "wrong": None, "wrong_raw": "x"},
    ]
    found = fc_rewardbench.read(jsonl(tmp_path / "p.jsonl", *rows))
    ids = [[g.task.id for g in part.groups] for part in (found.live(), found.non_live(), found.non_live().parsed())]
    assert ids == [["2"], ["simple_python_0", "3"], ["simple_python_0"]]
    assert found.non_live().parsed().name == "p, non-live, answers that parse"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "expected an object"),
        ("[" * 100_000, "not JSON"),
        ({**PAIR, "error_type": "bad mood"}, "unknown error type 'bad mood'"),
        ({**PAIR, "right": "no"}, "the right answer is no list"),
        ({**PAIR, "wrong": None}, "neither"),
        ({**PAIR, "functions": 3}, "functions|tools"),
        ({**PAIR, "functions": [{"description": "nameless"}]}, "'name' is missing"),
        ({**PAIR, "messages": [{"role": "poet", "content": ""}]}, "'poet'"),
        ({**PAIR, "messages": ["hello"]}, "malformed"),
        ({key: value for key, value in PAIR.items() if key != "category"}, "'category' is missing"),
    ],
)
def test_a_malformed_line_is_named_by_file_and_line(tmp_path, line, reason):
    path = jsonl(tmp_path / "p.jsonl", PAIR, line)
    with pytest.raises(DataError, match=reason) as caught:
        fc_rewardbench.read(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "\n" not in str(caught.value)


def test_a_malformed_row_is_named_by_file_and_row(tmp_path):
    save(tmp_path, [as_text(ROW), as_text({**ROW, "error_type": "odd"})])
    with pytest.raises(DataError, match=r"data-00000-of-00001\.arrow:2: unknown error type 'odd'"):
        fc_rewardbench.read(tmp_path)


def test_what_is_no_benchmark_is_refused_with_the_way_out(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"no \.arrow or \.parquet files"):
        fc_rewardbench.read(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read"):
        fc_rewardbench.read(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="holds no pairs"):
        fc_rewardbench.read(jsonl(tmp_path / "empty.jsonl", ""))
    (tmp_path / "a.arrow").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be read as Arrow"):
        fc_rewardbench.read(tmp_path)
    (tmp_path / "a.arrow").unlink()
    with pytest.raises(DataError, match="column 'tools' is missing"):
        fc_rewardbench.read(save(tmp_path, [{"x": 1}]))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.arrow").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"toolrm_jax\[hf\]"):
        fc_rewardbench.read(tmp_path)


def test_every_line_of_the_stand_in_is_read(data_folder):
    for name, pairs, parsed in (("fc_pairs", 1172, 1132), ("pairs", 1479, 1270)):
        found = fc_rewardbench.read(data_folder("bfcl_outputs") / f"{name}.jsonl")
        assert (len(found.groups), len(found.parsed().groups)) == (pairs, parsed)
        assert len(found.live().groups) + len(found.non_live().groups) == pairs
