"""Recorded answers in place of a model."""

from __future__ import annotations

import json

import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.synth.protocol import Asked, Prompt, Sampling, requests
from toolrm_jax.synth.recorded import NOT_RECORDED, RecordedSampler, read_jsonl


def write(path, *rows):
    path.write_text("".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def test_the_samples_of_a_task_are_its_lines_in_their_order(tmp_path):
    message = {"content": None, "tool_calls": []}
    first = {"id": "t", "text": "one", "tokens": 3}
    path = write(tmp_path / "a.jsonl", first, {"id": "u", "message": message}, {"id": "t", "text": ""})
    found = read_jsonl(path)
    assert [answer.text for answer in found["t"]] == ["one", ""]
    assert (found["t"][0].tokens, found["u"][0].message) == (3, message)
    outcomes = []
    asked = [
        Asked(task, Prompt(body="{}"), requests(Prompt(body="{}"), task, Sampling(), range(2)))
        for task in ("t", "u", "v")
    ]
    RecordedSampler(found).run(asked, Sampling(), outcomes.append, lambda: False)
    told = [(one.task, one.request.sample, one.answer.text if one.answer else one.failure) for one in outcomes]
    assert told == [
        ("t", 0, "one"), ("t", 1, ""), ("u", 0, ""), ("u", 1, NOT_RECORDED), ("v", 0, NOT_RECORDED),
        ("v", 1, NOT_RECORDED),
    ]  # fmt: skip


def test_a_stop_is_heeded(tmp_path):
    outcomes = []
    asked = [Asked("t", Prompt(body="{}"), requests(Prompt(body="{}"), "m", Sampling(), range(1)))]
    RecordedSampler({}).run(asked, Sampling(), outcomes.append, lambda: True)
    assert outcomes == []


@pytest.mark.parametrize(
    "row",
    ["{", "1", {"text": "a"}, {"id": "t"}, {"id": "t", "text": "a", "message": {}}, {"id": "t", "text": 1},
     {"id": "t", "message": []}, {"id": "t", "text": "a", "model": "m"}, {"id": "t", "text": "a", "tokens": "x"},
     '{"id": "t", "text": "a", "tokens": Infinity}', '{"id": "t", "text": "a", "seconds": NaN}',
     {"id": "t", "text": "a", "seconds": -1}, {"id": "t", "text": "a", "tokens": 10**400}],
)  # fmt: skip
def test_a_line_that_is_none_is_refused_with_its_number(tmp_path, row):
    path = write(tmp_path / "a.jsonl", {"id": "t", "text": "a"}, row)
    with pytest.raises(DataError, match=r"a.jsonl:2: "):
        read_jsonl(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_jsonl(tmp_path / "absent.jsonl")
