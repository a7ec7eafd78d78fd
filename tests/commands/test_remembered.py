"""Scores on disk: a judge is asked once for the same groups, and again for others."""

from toolrm_jax.commands.remembered import remembered
from toolrm_jax.evals.baselines import Judge
from toolrm_jax.toolcalls.types import Candidate, Context, Group, Message, Task, Verdict


def group(name):
    task = Task(name, "", "", "", Context((), (Message("user", "Hi"),)))
    return Group(task, (Candidate(text="a"), Candidate(text="bb")), (Verdict(True, 1.0), Verdict(False, 0.0)))


def test_a_judge_is_asked_once_for_the_same_groups(tmp_path):
    asked = []

    def score(groups):
        asked.append(len(groups))
        return [[float(len(candidate.text)) for candidate in each.candidates] for each in groups]

    judge = Judge("length", score)
    groups = [group("x"), group("y")]
    for _ in range(2):
        assert remembered(judge, tmp_path, "one model")(groups) == [[1.0, 2.0], [1.0, 2.0]]
    assert asked == [2]
    remembered(judge, tmp_path, "another model")(groups)
    remembered(judge, tmp_path, "one model")(groups[:1])
    assert asked == [2, 2, 1]
