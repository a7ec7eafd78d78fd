"""Servers are asked by token ids in their own form; whatever is no score is refused in one line."""

import pytest

from tests.converters.engine_stand_in import serving
from toolrm_jax.converters.served_scores import served_scores
from toolrm_jax.errors import ConfigError, ModelError

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
