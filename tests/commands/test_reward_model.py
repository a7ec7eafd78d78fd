"""`from toolrm_jax import RewardModel`: the same scores as `toolrm score`, by a lazy import."""

import json
import subprocess
import sys

import pytest

from toolrm_jax import RewardModel
from toolrm_jax.cli import main
from toolrm_jax.errors import DataError, ModelError
from toolrm_jax.toolcalls.render import render_hermes
from toolrm_jax.toolcalls.types import Call


@pytest.fixture(scope="session")
def example(finished):
    return json.loads((finished / "example.jsonl").read_text())


@pytest.fixture(scope="session")
def model(finished):
    return RewardModel.load(finished / "model")


def test_its_scores_are_those_of_the_command(finished, example, model, tmp_path):
    output = tmp_path / "scores.jsonl"
    assert (
        main(["score", f"model={finished / 'model'}", f"input={finished / 'example.jsonl'}", f"output={output}"]) == 0
    )
    expected = json.loads(output.read_text())["scores"]
    assert model.score(**example) == expected
    assert model.best(**example) == max(range(len(expected)), key=expected.__getitem__)
    question = (example["tools"], example["messages"], example["candidates"])
    both = model.score_all([question, (*question[:2], question[2][:1])])
    assert both[0] == pytest.approx(expected, abs=1e-6)
    assert both[1] == pytest.approx(expected[:1], abs=1e-6)


def test_a_text_is_read_as_the_calls_in_it(example, model):
    candidate = next(each for each in example["candidates"] if each.get("tool_calls"))
    calls = [Call(call["name"], call["arguments"]) for call in candidate["tool_calls"]]
    text = render_hermes(calls, candidate.get("content", ""))
    assert model.score(example["tools"], example["messages"], [text, "<tool_call>{broken"])[0] == pytest.approx(
        model.score(example["tools"], example["messages"], [candidate])[0], abs=1e-6
    )


def test_what_cannot_be_read_is_told_with_its_question(example, model):
    with pytest.raises(DataError, match="question 1: candidate 1 has neither"):
        model.score(example["tools"], example["messages"], [{}])
    with pytest.raises(DataError, match="question 1: holds what JSON cannot"):
        model.score(example["tools"], example["messages"], [{"content": {1, 2}}])
    with pytest.raises(DataError, match="there are no candidates"):
        model.best(example["tools"], example["messages"], [])


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        RewardModel.load(tmp_path / "absent")


def test_importing_the_package_imports_nothing_heavy_and_an_unknown_name_is_an_attribute_error():
    code = (
        "import sys, toolrm_jax\n"
        "assert not {'jax', 'numpy', 'chz', 'importlib.metadata'} & set(sys.modules) - before, sys.modules\n"
        "toolrm_jax.RewardModel; toolrm_jax.__version__\n"
        "assert not {'jax', 'chz'} & set(sys.modules)\n"
        "try: toolrm_jax.Reward\n"
        "except AttributeError as error: print(error)"
    )
    code = "import sys; before = set(sys.modules)\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'toolrm_jax' has no attribute 'Reward'\n"
