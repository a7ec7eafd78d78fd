"""Near-duplicates: the same answer, and nearly the same words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.errors import ConfigError
from toolrm_jax.preferences.near import PERMUTATIONS, answer_hash, duplicates, question, repeated, signatures
from toolrm_jax.toolcalls.types import Call, Context, Message, Reference, Task

LONG = "please find me a quiet hotel with a pool and breakfast in the old town of Oslo for three nights from Monday on"


def task(said, calls=(), text=None, earlier=()):
    return Task("t", "s", "c", "l", Context((), (*earlier, Message("user", said))), Reference(calls, text))


def found(*tasks, similarity=0.85):
    answers = np.array([answer_hash(one) for one in tasks], np.uint64)
    return duplicates(answers, signatures([question(one) for one in tasks]), similarity).tolist()


CALL = Call("find", {"city": "Oslo", "nights": 3})


def test_the_same_answer_to_nearly_the_same_words_is_a_duplicate_of_the_first():
    assert found(task(LONG, (CALL,)), task(LONG + " .", (CALL,)), task(LONG.upper(), (CALL,))) == [False, True, True]


def test_another_answer_is_no_duplicate_however_alike_the_words():
    assert found(task(LONG, (CALL,)), task(LONG, (Call("find", {"city": "Oslo", "nights": 4}),))) == [False, False]
    assert found(task(LONG, text="Which hotel?"), task(LONG, text="Which price?")) == [False, False]


def test_other_words_are_no_duplicate_though_the_answer_is_the_same():
    assert found(task(LONG, (CALL,)), task("three nights in Oslo , whatever you find", (CALL,))) == [False, False]


def test_answers_are_equal_whatever_the_order_of_calls_and_arguments():
    other = Call("find", {"nights": 3.0, "city": " oslo"})
    second = Call("g", {})
    assert answer_hash(task("", (CALL, second))) == answer_hash(task("", (second, other)))
    assert answer_hash(task("", text="Hi  there")) == answer_hash(task("", text="hi there"))
    assert answer_hash(task("", (CALL,))) != answer_hash(task("", (CALL, CALL)))


def test_answer_hashes_are_the_same_in_every_process():
    """Python's own hashes are salted: this number was made by another process."""
    assert answer_hash(task("", (CALL, Call("g", {"a": [1, {"b": None}], "c": True})))) == 0x3CD1BB1CEDB5BCAB


def test_tasks_without_words_or_reference_are_nobodys_duplicates():
    silent = [task("", (CALL,))] * 2
    unknown = [Task("t", "s", "c", "l", Context((), (Message("user", LONG),)))] * 2
    assert found(*silent, *unknown) == [False] * 4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["a b c d e", "a b c d f", "x y z", "x y z w", ""]), max_size=12))
def test_signatures_meet_where_texts_do_and_agree_with_jaccard(texts):
    rows = signatures(texts)
    assert rows.shape == (len(texts), PERMUTATIONS)
    for i, one in enumerate(texts):
        for j, other in enumerate(texts):
            runs = [{" ".join(t.split()[k : k + 3]) for k in range(max(1, len(t.split()) - 2))} for t in (one, other)]
            jaccard = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
            assert abs((rows[i] == rows[j]).mean() - jaccard) < 0.3
            assert (jaccard == 1) == bool((rows[i] == rows[j]).all())


def test_the_second_of_two_equal_keys_is_repeated():
    assert repeated(np.array([3, 1, 3, 2, 1])).tolist() == [False, False, True, False, True]


def test_a_similarity_that_is_no_share_is_refused():
    with pytest.raises(ConfigError, match="similarity=0"):
        found(task(LONG), similarity=0)
