"""Judges that read a model, with a stand-in for the model: what they ask of it and what they make of its numbers."""

import numpy as np
import pytest

from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.evals import judges, readable, scoring
from toolrm_jax.evals.handrule import HAND_RULE, added
from toolrm_jax.toolcalls.types import Call, Candidate, Context, Group, Message, Task, Tool, Verdict

TOOL = Tool("weather", "", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})


def group(name, *cities):
    context = Context((TOOL,), (Message("user", "Weather in Ulm?"),))
    candidates = tuple(Candidate((Call("weather", {"city": city}),)) for city in cities)
    return Group(Task(name, "", "", "", context), candidates, tuple(Verdict(c == "Ulm", 0.0) for c in cities))


GROUPS = (group("a", "Ulm", "Bonn", "Gera on the White Elster"), group("b", "Jena", "Ulm"))


def tokens(chat, some):
    """One token for each character of the city."""
    lengths = [len(candidate.calls[0].arguments["city"]) for candidate in some.candidates]
    answers = tuple(np.arange(length, dtype=np.int32) for length in lengths)
    right = tuple(verdict.right for verdict in some.verdicts)
    return TokenGroup(some.task.id, "", np.arange(3, dtype=np.int32), answers, right, ("",) * len(right))


@pytest.fixture
def asked(monkeypatch):
    """The groups each of the scoring functions was asked for; an answer's value is minus its tokens, squared."""
    calls = []

    def value(model, groups, dtype, clock=None):
        calls.append([each.id for each in groups])
        return [np.array([-(len(answer) ** 2) for answer in each.responses], np.float32) for each in groups]

    monkeypatch.setattr(readable, "encode", tokens)
    monkeypatch.setattr(scoring, "log_likelihood", value)
    monkeypatch.setattr(scoring, "score", value)
    return calls


def test_the_reward_judge_gives_the_models_scores_in_the_groups_order(asked):
    assert judges.reward_judge(Model(99), None)(GROUPS) == [[-9, -16, -576], [-16, -9]]


class Model:
    """A model that reads so many tokens."""

    def __init__(self, longest):
        self.config = self
        self.max_position_embeddings = longest


@pytest.fixture
def refuses(asked, monkeypatch):
    """A template that cannot write the answer Hof."""

    def some(chat, one):
        if any(candidate.calls[0].arguments["city"] == "Hof" for candidate in one.candidates):
            raise DataError("the template cannot write it")
        return tokens(chat, one)

    monkeypatch.setattr(readable, "encode", some)


def test_every_judge_that_reads_a_model_gives_none_for_what_it_cannot_read_and_reads_the_rest(refuses, asked):
    # In a, 24 tokens after 3 of context are too long; of c one answer cannot be written, of d none can.
    groups = (*GROUPS, group("c", "Hof", "Ulm"), group("d", "Hof", "Hof"))
    model = Model(10)
    none = [None, None]
    expected = [[-9, -16, None], [-16, -9], [None, -9], none]
    assert judges.reward_judge(model, None).score(groups) == expected
    assert asked == [["a", "b", "c"]]
    total, mean = judges.likelihood_judges(model, None)
    assert total.score(groups) == expected
    assert mean.score(groups) == [[-3, -4, None], [-4, -3], [None, -3], none]
    assert asked[1:] == [["a", "b", "c"]]  # both out of one pass
    assert judges.reward_judge(Model(5), None).score(groups[:1]) == [[None] * 3]


def test_sum_and_mean_come_out_of_one_pass_and_each_benchmark_has_its_own(asked):
    total, mean = judges.likelihood_judges(Model(99), None)
    assert total(GROUPS) == [[-9, -16, -576], [-16, -9]]
    assert mean(GROUPS) == [[-3, -4, -24], [-4, -3]]
    assert asked == [["a", "b"]]
    assert mean(GROUPS[1:]) == [[-4, -3]]
    assert asked == [["a", "b"], ["b"]]


def test_with_the_hand_rule_the_z_scores_are_added(asked):
    mean = judges.likelihood_judges(Model(99), None)[1]
    both = judges.with_hand_rule(mean)
    assert both.name == "likelihood (mean) + hand rule"
    for row, expected in zip(both(GROUPS), added(mean(GROUPS), HAND_RULE(GROUPS))):
        assert row == pytest.approx(expected)
