"""Metadata of results in a model card, as the hub reads it: of this model, and in place of older ones."""

import json
import shutil

import pytest

from toolrm_jax.cli import main
from toolrm_jax.commands.card_results import write_index
from toolrm_jax.errors import ConfigError
from toolrm_jax.evals.benchmark import Measure
from toolrm_jax.evals.results import Judged, Result, Suite, model_index, save

CARD = '---\nlicense: "mit"\ntags: ["reward-model"]\n---\n\n# tiny-rm\n\nWords.\n'


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "tiny-rm"
    folder.mkdir()
    (folder / "README.md").write_text(CARD)
    return folder


def suite(model, value=0.75):
    measures = (Measure("judge, best of 4", value, 0.7, 0.8, 100), Measure("random, best of 4", 0.5, 0.4, 0.6, 100))
    note, headline = "2 answers were unread", (("", "judge, best of 4"),)
    ours = Result("reward model", "accuracy", measures, note=note, headline=headline)
    return Suite(str(model), "toolrm eval …", (Judged("best of n", "", True, 100, (ours,)),))


def test_the_judges_numbers_stand_in_the_card_once_and_the_rest_of_it_is_as_it_was(folder):
    for value in (0.5, 0.75):
        card = write_index(folder, suite(folder, value)).read_text()
    front, body = card.removeprefix("---\n").split("\n---\n")
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert fields.pop("model-index") == json.dumps(model_index(suite(folder), "tiny-rm"), ensure_ascii=False)
    assert fields == {"license": '"mit"', "tags": '["reward-model"]'}
    assert body == "\n# tiny-rm\n\nWords.\n"
    assert "random" not in card
    assert "50.0" not in card


def test_the_hub_reads_the_metadata_also_in_place_of_its_own_form_of_it(folder):
    hub = pytest.importorskip("huggingface_hub")
    old = "model-index:\n- name: x\n  results:\n  - task:\n      type: y\nlicense:"
    (folder / "README.md").write_text(CARD.replace("license:", old))
    write_index(folder, suite(folder))
    data = hub.ModelCard.load(folder / "README.md").data
    (found,) = data.eval_results
    assert (found.dataset_name, found.metric_value) == ("best of n", 75.0)
    assert (data.license, data.tags) == ("mit", ["reward-model"])


def test_results_of_another_model_or_without_numbers_and_a_folder_without_card_are_refused(folder, tmp_path, fails):
    with pytest.raises(ConfigError, match="are of runs/other, not of this model"):
        write_index(folder, suite("runs/other"))
    with pytest.raises(ConfigError, match="hold no number of this model"):
        write_index(folder, Suite(str(folder), "", ()))
    assert (folder / "README.md").read_text() == CARD
    save(suite(tmp_path), tmp_path)
    assert "no model card with front matter" in fails("report", f"path={tmp_path}", f"card={tmp_path}")


def test_what_a_run_was_judged_to_do_may_stand_in_the_card_of_its_export(finished, tmp_path):
    export = tmp_path / "export"
    shutil.copytree(finished / "model", export)
    assert "model-index: " in write_index(export, suite(finished / "run")).read_text()
    facts = json.loads((export / "toolrm.json").read_text())
    facts["reward"]["training_config_hash"] = "of another run"
    (export / "toolrm.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="not of this model"):
        write_index(export, suite(finished / "run"))


def test_report_writes_the_card(folder, tmp_path):
    save(suite(folder), tmp_path)
    assert main(["report", f"path={tmp_path}", f"card={folder}"]) == 0
    assert "model-index: " in (folder / "README.md").read_text()
