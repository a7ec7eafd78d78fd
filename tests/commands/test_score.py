"""`toolrm score`: the contract that scripts rely on."""

import json

import pytest

from toolrm_jax.cli import main


def scored(model, source, output):
    assert main(["score", f"model={model}", f"input={source}", f"output={output}"]) == 0
    return [json.loads(line)["scores"] for line in output.read_text().splitlines()]


@pytest.fixture
def rows(finished):
    row = json.loads((finished / "example.jsonl").read_text())
    return [row, {**row, "candidates": []}, {**row, "candidates": row["candidates"][::-1]}]


def written(tmp_path, rows):
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_line_of_scores_per_line_in_the_order_of_the_candidates(finished, rows, tmp_path):
    first, none, turned = scored(finished / "model", written(tmp_path, rows), tmp_path / "out.jsonl")
    assert len(first) == len(rows[0]["candidates"]) > 1
    assert len(set(first)) == len(first)
    assert none == []
    assert turned == pytest.approx(first[::-1], abs=1e-6)


def test_a_run_and_its_export_give_the_same_scores_and_so_does_transformers(finished, rows, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = written(tmp_path, rows[:1])
    exported = scored(finished / "model", source, tmp_path / "a.jsonl")[0]
    assert scored(finished / "run", source, tmp_path / "b.jsonl")[0] == pytest.approx(exported, abs=1e-6)

    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    model = AutoModelForSequenceClassification.from_pretrained(finished / "model", dtype=torch.float32)
    for candidate, score in zip(rows[0]["candidates"], exported):
        calls = [{"type": "function", "function": call} for call in candidate.get("tool_calls", ())]
        answer = {"role": "assistant", "content": candidate["content"], "tool_calls": calls}
        text = tokenizer.apply_chat_template([*rows[0]["messages"], answer], tools=rows[0]["tools"], tokenize=False)
        ids = tokenizer(text.rstrip("\n"), add_special_tokens=False, return_tensors="pt").input_ids
        assert model(ids).logits[0, 0].item() == pytest.approx(score, rel=1e-5, abs=1e-5)


def test_a_bad_line_leaves_nothing_behind(finished, rows, tmp_path, fails):
    rows[1]["candidates"] = [{}]
    source = written(tmp_path, rows)
    assert f"{source}:2: candidate 1 has neither" in fails(
        "score", f"model={finished / 'model'}", f"input={source}", f"output={tmp_path / 'out.jsonl'}"
    )
    assert list(tmp_path.iterdir()) == [source]


def test_a_line_longer_than_the_model_reads_is_told_with_its_place(finished, rows, tmp_path, fails):
    rows[1] = {**rows[0], "messages": [{"role": "user", "content": "x y z " * 2000}]}
    source = written(tmp_path, rows)
    said = fails("score", f"model={finished / 'model'}", f"input={source}", f"output={tmp_path / 'out.jsonl'}")
    assert f"{source}:2: has " in said
    assert "the model reads at most 1024" in said


def test_what_is_no_reward_model_is_told(finished, tiny_model, tmp_path, fails):
    rest = (f"input={finished / 'example.jsonl'}", f"output={tmp_path / 'out.jsonl'}")
    assert "has no score.weight" in fails("score", f"model={tiny_model}", *rest)
    assert "no such folder" in fails("score", f"model={tmp_path / 'absent'}", *rest)
    assert f"give {finished / 'run'}" in fails("score", f"model={finished}", *rest)
    assert list(tmp_path.iterdir()) == []
