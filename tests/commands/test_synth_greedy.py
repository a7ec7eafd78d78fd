"""A greedy answer beside the samples of `toolrm synth`, as best of n wants it."""

import json

from toolrm_jax.cli import main
from toolrm_jax.commands.synth import JOURNAL, Config
from toolrm_jax.commands.synth_groups import GROUPS, groups_config
from toolrm_jax.commands.synth_local import LimitsConfig
from toolrm_jax.commands.synth_models import ModelConfig, open_entry
from toolrm_jax.evals.best_of_n import from_answers
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.synth.protocol import Sampling
from toolrm_jax.synth.servers import Patience
from toolrm_jax.toolcalls.equality import candidate_key


def test_an_entrys_temperature_stands_in_place_of_the_runs_and_old_groups_stay_valid():
    entry = ModelConfig(name="m@greedy", servers=("http://x",), temperature=0.0)
    opened = open_entry(entry, [], Sampling(temperature=0.7), Patience(), LimitsConfig(), 0, None)
    assert opened.options.temperature == 0
    plain = ModelConfig(name="m", servers=("http://x",))
    assert (
        open_entry(plain, [], Sampling(temperature=0.7), Patience(), LimitsConfig(), 0, None).options.temperature == 0.7
    )
    made_from = groups_config(Config(output="x", models=(plain, entry)))
    assert ["temperature" in model for model in made_from["models"]] == [False, True]


def test_the_greedy_answer_is_known_in_every_context_and_no_sample(bfcl_folder, tmp_path):
    """Two samples and a greedy answer a question, recorded; the greedy one is equal to the first sample."""
    answers = {"m": ("It rains.", "No."), "m@greedy": ("It rains.",)}
    words = []
    for place, (name, texts) in enumerate(answers.items()):
        rows = [{"id": f"simple_python_{k}", "text": one} for k in range(6) for one in texts]
        file = tmp_path / f"{place}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        words += [
            f"models.{place}.name={name}",
            f"models.{place}.recorded={file}",
            f"models.{place}.samples={len(texts)}",
        ]
    output = tmp_path / "out"
    config = tmp_path / "config.py"
    config.write_text(
        "from toolrm_jax.commands.synth import Config\n"
        "from toolrm_jax.commands.synth_models import ModelConfig\n"
        "def config():\n"
        f"    return Config(output={str(output)!r}, models=(ModelConfig(name='a'), ModelConfig(name='b')),\n"
        f"                  sources=('bfcl/simple_python={bfcl_folder}',))\n"
    )
    assert main(["synth", f"config={config}", *words]) == 0
    assert (output / JOURNAL).is_file()
    found = from_answers(read_groups(output / GROUPS), candidate_key)
    assert [(one.counts, one.greedy) for one in found] == [((1, 1), 0)] * 6
