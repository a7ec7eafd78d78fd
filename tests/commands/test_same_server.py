"""What was kept of a served model is used for the same model alone."""

import pytest

from toolrm_jax.commands.same_server import TOLERANCE, same_server
from toolrm_jax.errors import ConfigError, ModelError

MODEL = {"id": "reward", "root": "runs/a"}


def silent():
    raise ModelError("http://x/v1/models: no answer")


def test_the_same_model_passes_though_its_scores_move_a_little(tmp_path):
    folder = tmp_path / "scores"
    same_server(folder, ["http://x"], lambda: MODEL, lambda: [1.0, -8.0])
    (file,) = folder.iterdir()
    kept = file.read_bytes()
    same_server(folder, ["http://x"], lambda: MODEL, lambda: [1.0 + TOLERANCE / 2, -8.0 - 4 * TOLERANCE])
    assert file.read_bytes() == kept  # the first scores stay the measure: it cannot drift


@pytest.mark.parametrize(
    ("model", "probe", "says"),
    [
        ({"id": "reward", "root": "runs/b"}, [1.0, -8.0], "serves {'id': 'reward', 'root': 'runs/b'}"),
        (MODEL, [1.0, -8.5], "scores otherwise ([1.0, -8.5])"),
    ],
)
def test_another_model_or_score_behind_the_same_address_is_refused(tmp_path, model, probe, says):
    same_server(tmp_path, ["http://x"], lambda: MODEL, lambda: [1.0, -8.0])
    with pytest.raises(ConfigError, match="name another output=") as raised:
        same_server(tmp_path, ["http://x"], lambda: model, lambda: probe)
    assert says in str(raised.value)
    same_server(tmp_path, ["http://y"], lambda: model, lambda: probe)  # what is kept of y is kept apart


def test_a_dead_server_is_an_error_at_first_and_let_pass_where_its_answers_may_all_be_kept(tmp_path):
    with pytest.raises(ModelError, match="no answer"):
        same_server(tmp_path, ["http://x"], silent, list)
    assert not list(tmp_path.iterdir())
    same_server(tmp_path, ["http://x"], lambda: MODEL, list)
    same_server(tmp_path, ["http://x"], silent, list)
