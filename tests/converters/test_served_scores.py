"""Servers are asked by token ids in their own form; whatever is no score is refused in one line."""

import http.client
import io
import urllib.error
import urllib.request

import pytest

from tests.converters.engine_stand_in import serving
from toolrm_jax.converters.served_scores import served_model, served_scores
from toolrm_jax.errors import ConfigError, ModelError, TooLongError

ROWS = [[1, 2, 3], [4], [5, 6]]


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_scores_come_back_in_the_order_of_the_rows(engine):
    with serving(engine, lambda row: sum(row) - 7.5) as (url, seen):
        assert served_scores(engine, url + "/", ROWS) == [-1.5, -3.5, 3.5]
        assert served_scores(engine, url, ROWS[1:2]) == [-3.5]
    assert seen == [3, 1]


def test_the_wrong_engine_is_noticed():
    with serving("vllm", sum) as (url, _), pytest.raises(ModelError, match="answers"):
        served_scores("sglang", url, ROWS)


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_an_output_that_is_no_number_is_refused(engine):
    with serving(engine, lambda row: None) as (url, _), pytest.raises(ModelError, match="expected one number"):
        served_scores(engine, url, ROWS)


def test_where_no_server_is_the_way_out_is_said():
    with pytest.raises(ConfigError, match=r"no answer .* start the server or give its url="):
        served_scores("vllm", "http://127.0.0.1:9", ROWS, timeout=5)
    with pytest.raises(ConfigError, match="no address of a server"):
        served_scores("sglang", "localhost", ROWS)


def test_what_a_server_says_of_its_model_is_that_scores_depend_on_and_not_when_it_was_asked():
    named = {"id": "reward", "max_model_len": 1024}
    with serving("sglang", sum) as (url, _):
        assert served_model("sglang", url) == {**named, "model_path": "runs/a", "weight_version": "default"}
    with serving("vllm", sum) as (url, _):
        assert served_model("vllm", url) == named
        assert served_model("sglang", url) == named  # one that does not tell of its weights
    with pytest.raises(ConfigError, match="no answer"):
        served_model("vllm", url, timeout=5)


def test_a_batch_that_is_too_long_is_an_error_of_its_own():
    with serving("sglang", sum, longest=2) as (url, _):
        with pytest.raises(TooLongError, match="answers 400"):
            served_scores("sglang", url, ROWS)
        assert served_scores("sglang", url, ROWS[1:]) == [4, 11]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (http.client.IncompleteRead(b"out of mem"), "out of mem"),
        (ConnectionResetError("reset by peer"), "reset by peer"),
    ],
)
def test_a_server_that_dies_while_it_refuses_is_told_by_its_status_and_what_came(fault, told, monkeypatch):
    class Cut(io.BytesIO):
        def read(self, *_):
            raise fault

    def refuses(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 500, "Internal Server Error", http.client.HTTPMessage(), Cut())

    monkeypatch.setattr(urllib.request, "urlopen", refuses)
    with pytest.raises(ModelError, match=f"answers 500 .{told}"):
        served_scores("sglang", "http://127.0.0.1:9", ROWS)
