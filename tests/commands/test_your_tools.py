"""The page "Your own tools in thirty minutes", run: a description and a log become a model that ranks answers."""

import json
import random

import pytest

from toolrm_jax import RewardModel
from toolrm_jax.cli import main
from toolrm_jax.sources import Drops, read

ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
AMOUNT = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}}
SHOP = {
    "openapi": "3.1.0",
    "info": {"title": "Shop", "version": "1"},
    "paths": {
        "/orders/{id}": {"get": {"operationId": "get_order", "summary": "Look an order up.", "parameters": [ID]}},
        "/orders/{id}/refund": {
            "post": {
                "operationId": "refund_order",
                "summary": "Pay an order back.",
                "parameters": [ID],
                "requestBody": {"required": True, "content": {"application/json": {"schema": AMOUNT}}},
            }
        },
    },
}


def dialogue(tools, question, name, arguments):
    call = {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return {
        "tools": tools,
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "tool_calls": [call]}],
    }


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with tools.json and a log of forty calls."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "api.json").write_text(json.dumps(SHOP))
    assert main(["import-tools", "openapi=api.json", "output=tools.json"]) == 0
    tools = json.loads((tmp_path / "tools.json").read_text())
    draw = random.Random(0)
    lines = []
    for number in range(40):
        order, amount = draw.randint(1000, 9999), draw.randint(5, 90)
        if number % 2:
            lines.append(dialogue(tools, f"Where is my order {order}?", "get_order", {"id": order}))
        else:
            question = f"Refund {amount} euros of order {order}."
            lines.append(dialogue(tools, question, "refund_order", {"id": order, "amount": amount}))
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


PREPARE = (
    *("prepare", "config=data/outcome", "output=mine/data", "data.sources=own=log.jsonl", "data.benchmarks="),
    *("obfuscated=false", "data.similarity=None", "pairs=120", "held_out=20"),
)


def test_a_log_in_openais_form_becomes_groups_of_right_and_wrong_answers(shop):
    assert main([*PREPARE]) == 0
    card = json.loads((shop / "mine/data/train/card.json").read_text())
    assert card["counts"]["source"].keys() == {"own"}
    assert card["counts"]["verdict"]["wrong"] > card["counts"]["verdict"]["right"] > 20


def test_an_assistants_message_that_fits_no_tool_is_a_counted_drop(shop):
    tools = json.loads((shop / "tools.json").read_text())
    bad = dialogue(tools, "Where is it?", "no_such_tool", {})
    (shop / "bad.jsonl").write_text(json.dumps(bad) + "\n" + json.dumps({"messages": [], "tools": []}) + "\n")
    drops = Drops()
    assert list(read("own", shop / "bad.jsonl", drops=drops)) == []
    assert sum(drops.counts.values()) == 2


@pytest.mark.slow
def test_the_whole_page_ends_with_a_model_that_ranks_answers(shop, tiny_model):
    assert main([*PREPARE]) == 0
    data = ("data.train=mine/data/train", "data.held_out=mine/data/held_out")
    small = ("model.layers=None", "model.frozen_layers=0", "data.row_length=512", "data.rows=1", "data.epochs=40")
    steps = ("steps=20", "evaluate_every=10", "save_every=10", "head_fit.steps=0")
    assert (
        main(["train", "config=quickstart", "output=mine/run", f"model.path={tiny_model}", *data, *small, *steps]) == 0
    )
    assert main(["eval", "model=mine/run", "held_out=mine/data/held_out", "output=mine/eval"]) == 0
    assert (shop / "mine/eval/report.html").is_file()
    assert main(["export", "checkpoint=mine/run", "output=mine/model", "dtype=float32"]) == 0
    model = RewardModel.load("mine/model")
    tools = json.loads((shop / "tools.json").read_text())
    answers = [
        '<tool_call>\n{"name": "get_order", "arguments": {"id": 4711}}\n</tool_call>',
        '<tool_call>\n{"name": "refund_order", "arguments": {"id": 4711, "amount": 20}}\n</tool_call>',
    ]
    scores = model.score(tools, [{"role": "user", "content": "Refund 20 euros of order 4711."}], answers)
    assert len(set(scores)) == 2
