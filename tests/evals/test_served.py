"""A scalar judge behind HTTP: a server that dies is an error and not a score, an answer that is too long is unread."""

import numpy as np
import pytest

from tests.evals.making import group
from toolrm_jax.data.chat import EncodedGroup
from toolrm_jax.errors import ModelError, TooLongError, refusal
from toolrm_jax.evals import served

GROUPS = [group(city, ["Ulm"], [city]) for city in ("Bonn", "Gera", "Hof", "Jena")]


class Letters:
    """A chat whose tokens are lengths: enough to see which rows are sent."""

    def encode_group(self, context, candidates, id):
        answers = tuple(np.array([len(c.calls[0].arguments["city"]), 9]) for c in candidates)
        return EncodedGroup(np.array([7, 8], np.int32), answers)


def test_a_scalar_server_gets_context_and_answer_and_its_scores_go_back_to_their_groups():
    sent = []

    def send(rows):
        sent.extend(rows)
        return [float(row[2]) for row in rows]

    judge = served.served_judge("server", send, Letters())
    assert judge.score([group("a", ["Ulm"], ["Bonn", "Jena1"]), group("b", ["Aachen"], ["X"])]) == [[3, 4, 5], [6, 1]]
    assert sent[0] == [7, 8, 3, 9]


def test_what_a_scalar_server_does_not_give_is_never_a_score():
    def send(rows):
        raise ModelError("http://x/classify: answers 503")

    with pytest.raises(ModelError, match="503"):
        served.served_judge("server", send, Letters()).score(GROUPS)


def test_only_the_answer_that_is_too_long_is_unread_though_the_server_refuses_its_whole_batch():
    sent = []

    def send(rows):
        sent.append(len(rows))
        if any(row[2] > 4 for row in rows):
            raise TooLongError("http://x/classify: answers 400 (longer than the model's context length)")
        return [float(row[2]) for row in rows]

    groups = [*GROUPS, group("long", ["Ulm"], ["Gelsenkirchen", "Hof"])]
    scores = served.served_judge("server", send, Letters()).score(groups)
    assert scores == [[3, 4], [3, 4], [3, 3], [3, 4], [3, None, 3]]
    assert sent[0] == 11
    assert sent.count(1) >= 1


@pytest.mark.parametrize(("status", "said"), [(413, "Payload too large"), (422, "inputs too long"), (400, "too long")])
def test_a_refusal_for_length_is_told_from_others(status, said):
    assert isinstance(refusal("http://x", status, said), TooLongError)
    assert not isinstance(refusal("http://x", 500, said), TooLongError)
    assert not isinstance(refusal("http://x", 400, "no such model"), TooLongError)
