"""Files of rows: in every layout, and cut short, in the wrong encoding, or of the wrong kind."""

import json

import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.sources.drops import NOT_READABLE, Drops
from toolrm_jax.sources.rows import files, rows

ROWS = [{"a": 1}, {"a": "é"}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.json", json.dumps(ROWS)),
        ("rows.json", json.dumps(ROWS, indent=2, ensure_ascii=False)),
        ("rows.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("rows.json", "\n".join(map(json.dumps, ROWS)) + "\n\n"),
        ("rows.json", json.dumps({"x": ROWS[0], "y": ROWS[1]})),
    ],
)
def test_rows_of_every_layout(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [row for _, row in rows(tmp_path / name, Drops(strict=True), ("a",))] == ROWS


def test_one_object_alone_in_a_file_of_lines_is_one_row(tmp_path):
    (tmp_path / "rows.json").write_text('{"a": 1}\n')
    assert [row for _, row in rows(tmp_path / "rows.json", Drops(strict=True))] == [{"a": 1}]


def test_bad_lines_are_counted_and_named(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n{"a": \n\n{"a": "\xff"}\n[1]\n{"b": 2}\n{"a": 3')
    drops = Drops()
    assert [where for where, _ in rows(file, drops, ("a",))] == [f"{file}:1"]
    assert drops.counts == {NOT_READABLE: 5}
    assert drops.first[NOT_READABLE].startswith(f"{file}:2: not JSON")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: not JSON"):
        list(rows(file, Drops(strict=True)))


@pytest.mark.parametrize("content", [b'[{"a": 1}, {"a"', b"", b'[{"a": "\xe9"}]', b"3", b'"text"', b"[" * 100_000])
def test_a_file_that_is_no_list_of_rows_is_an_error(tmp_path, content):
    (tmp_path / "rows.json").write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.json: .*fetch it again"):
        list(rows(tmp_path / "rows.json", Drops()))


def test_parquet_batch_by_batch_with_structs_as_they_were(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    published = [{"a": {"x": 1}, "n": number} for number in range(3000)] + [{"a": {"y": [{"z": 1}]}, "n": 3000}]
    parquet.write_table(pyarrow.Table.from_pylist(published), tmp_path / "rows.parquet")
    assert [row for _, row in rows(tmp_path / "rows.parquet", Drops())] == [
        {"a": {name: value for name, value in row["a"].items()}, "n": row["n"]} for row in published[:-1]
    ] + [published[-1]]
    with pytest.raises(DataError, match="column 'b' is missing; it has a, n"):
        list(rows(tmp_path / "rows.parquet", Drops(), ("b",)))
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(DataError, match="cannot be read"):
        list(rows(tmp_path / "rows.parquet", Drops()))


def test_files_of_a_folder_in_order_of_name_without_what_other_programs_left(tmp_path):
    for name in ("b.json", "a.jsonl", "c.txt", ".hidden.json", "cache-1.arrow", "dataset_info.json", "state.json"):
        (tmp_path / name).touch()
    assert [file.name for file in files(tmp_path, "x")] == ["a.jsonl", "b.json"]
