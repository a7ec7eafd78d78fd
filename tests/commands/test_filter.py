"""`toolrm filter`: the better half of a training set, as much at random, and all of it."""

import json

from toolrm_jax.cli import main
from toolrm_jax.files import CARD


def test_a_training_set_is_filtered_into_three_folders(finished, tmp_path):
    output = tmp_path / "filtered"
    words = ["filter", f"groups={finished / 'groups'}", f"model={finished / 'model'}", f"output={output}", "keep=3"]
    assert main(words) == 0
    sizes = {name: json.loads((output / name / CARD).read_text())["counts"] for name in ("top", "random", "all")}
    assert sizes["top"]["verdict"]["right"] == sizes["random"]["verdict"]["right"] == 3
    assert sizes["all"]["verdict"]["right"] > 3
    table = json.loads((output / "filter.json").read_text())["selections"]
    assert table["top"]["mean score"] >= table["all"]["mean score"]
    assert main(words) == 0  # again: nothing to do
