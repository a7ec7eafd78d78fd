"""Tokenised groups on disk: what is read is what was written, and contradictions are left out and counted."""

from __future__ import annotations

import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from toolrm_jax.data import store
from toolrm_jax.data.chat import EncodedGroup
from toolrm_jax.data.dataset import RowSource
from toolrm_jax.data.rows import row_fields
from toolrm_jax.data.store import (
    COLUMNS,
    INDEX,
    SHARD,
    measure,
    read_tokens,
    reference_alone,
    without_contradiction,
    write_tokens,
)
from toolrm_jax.data.tokens import TokenGroup
from toolrm_jax.errors import DataError
from toolrm_jax.preferences.cut_off import CUT_OFF, NONE_WHOLE
from toolrm_jax.toolcalls.types import Candidate, Context, Group, Message, Task, Verdict


def made_groups(count: int) -> list[TokenGroup]:
    draw = np.random.default_rng(0)

    def group(number: int) -> TokenGroup:
        answers = tuple(draw.integers(0, 99, draw.integers(1, 5)).astype(np.int32) for _ in range(1 + number % 3))
        right = (True,) + (False,) * (len(answers) - 1)
        context = draw.integers(0, 99, draw.integers(1, 9)).astype(np.int32)
        scores = tuple(float(score) for score in draw.random(len(answers)))
        pairs = ((0, 1),) if number % 3 == 2 else ()
        kinds = ("",) * len(answers)
        return TokenGroup(f"g{number}", "made", context, answers, right, kinds, scores, pairs, epoch=number % 2)

    return [group(number) for number in range(count)]


def test_groups_come_back_as_they_were_by_index_and_slice_with_their_sizes_at_hand(tmp_path):
    groups = made_groups(20)
    assert write_tokens(tmp_path, groups) == (20, sum(group.size for group in groups))
    found = read_tokens(tmp_path)
    assert len(found) == 20
    for one, other in zip([*found[:7], *(found[i] for i in range(7, 20))], groups, strict=True):
        assert one.to_bytes() == other.to_bytes()
    assert found[-1].id == "g19"
    assert found.columns["highest"].tolist() == [group.highest for group in groups]
    for name in COLUMNS:
        np.testing.assert_array_equal(measure(found)[name], measure(groups)[name])


def test_rows_are_the_same_from_disk_and_from_memory(tmp_path):
    groups = made_groups(30)
    write_tokens(tmp_path, groups)
    sources = [RowSource(some, 32, 8, 2, 2, 5) for some in (groups, read_tokens(tmp_path))]
    assert sources[0].plan == sources[1].plan
    assert sources[0].padding == sources[1].padding
    for index in range(len(sources[0])):
        for a, b in zip(row_fields(sources[0][index]), row_fields(sources[1][index]), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [SHARD, INDEX])
@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"\x93NUMPY")])
def test_damaged_files_are_told_of_with_their_folder(tmp_path, name, damage):
    write_tokens(tmp_path, made_groups(5))
    damage(tmp_path / name)
    with pytest.raises(DataError, match=f"{tmp_path}: damaged .*; remove it and run again"):
        list(read_tokens(tmp_path))


def pair(wrong: list[int], *more: list[int]) -> TokenGroup:
    answers = tuple(np.array(ids, np.int32) for ids in ([5, 6, 2], wrong, *more))
    right = (True,) + (False,) * (len(answers) - 1)
    return TokenGroup(
        "g", "made", np.array([1], np.int32), answers, right, ("", *["x"] * (len(answers) - 1)), (1.0,) * len(answers)
    )


def test_a_wrong_answer_with_the_tokens_of_a_right_one_is_left_out_and_counted():
    drops: Counter[str] = Counter()
    assert without_contradiction(pair([5, 7, 2]), drops).size == 7
    assert not drops
    assert without_contradiction(pair([5, 6, 2]), drops) is None
    kept = without_contradiction(pair([5, 6, 2], [5, 9, 2]), drops)
    assert [answer.tolist() for answer in kept.responses] == [[5, 6, 2], [5, 9, 2]]
    assert (kept.right, kept.kinds, len(kept.scores)) == ((True, False), ("", "x"), 2)
    assert drops == {"wrong answer with the tokens of a right one": 2, "group without a wrong answer left": 1}


def chosen(*pairs: tuple[int, int]) -> TokenGroup:
    """Answers a (right), b, c, a again (wrong this time) and d, of which a recipe chose these pairs."""
    made = pair([5, 7, 2], [5, 8, 2], [5, 6, 2], [5, 9, 2])
    return dataclasses.replace(made, pairs=pairs)


def test_chosen_pairs_follow_their_answers_and_those_of_equal_tokens_are_left_out_and_counted():
    drops: Counter[str] = Counter()
    kept = without_contradiction(chosen((1, 2), (4, 1), (4, 3), (0, 3)), drops)
    assert [answer.tolist() for answer in kept.responses] == [[5, 6, 2], [5, 7, 2], [5, 8, 2], [5, 9, 2]]
    assert kept.pairs == ((1, 2), (3, 1))
    left_out = "chosen pair with an answer left out, or with the same tokens twice"
    assert drops == {"wrong answer with the tokens of a right one": 1, left_out: 2}
    # Wrong answers alone, without a right one to hold them against, are pairs as good as any.
    wrong = dataclasses.replace(chosen((1, 2)), right=(False,) * 5)
    assert without_contradiction(wrong, drops) is wrong
    same = dataclasses.replace(chosen((0, 3)), right=(False,) * 5)
    assert without_contradiction(same, drops) is None
    assert drops["group without a chosen pair left"] == 1


def test_a_policy_gets_the_first_right_answer_alone():
    drops: Counter[str] = Counter()
    group = dataclasses.replace(chosen((1, 2)), right=(False, True, True, False, False))
    kept = reference_alone(group, drops)
    assert ([answer.tolist() for answer in kept.responses], kept.right, kept.pairs) == ([[5, 7, 2]], (True,), ())
    assert not drops
    assert reference_alone(dataclasses.replace(group, right=(False,) * 5), drops) is None
    assert drops == {"group without a right answer": 1}


def test_a_group_that_the_template_does_not_write_is_left_out_and_counted_unless_it_is_every_group(
    tmp_path, monkeypatch
):
    groups = made_groups(4)

    def encode(_, number: int) -> TokenGroup:
        if number in unwritten:
            raise DataError(f"group {number}: melts into its context")
        return groups[number]

    given = {"read_card": lambda _: None, "card_hash": lambda _: "", "read_groups": lambda _: range(4)}
    given |= {"without_cut_off": lambda number, _: number}
    for name, value in (given | {"encode": encode}).items():
        monkeypatch.setattr(store, name, value)
    unwritten, chat = {2}, SimpleNamespace(fingerprint="f")
    found = store.tokenise(tmp_path, chat, tmp_path / "some")
    assert [group.id for group in found] == ["g0", "g1", "g3"]
    assert store.left_out(tmp_path / "some") == {store.NOT_WRITTEN: 1}
    unwritten = {0, 1, 2, 3}
    with pytest.raises(DataError, match="group 0: melts"):
        store.tokenise(tmp_path, chat, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("answers", ["all", "reference"])
def test_an_answer_that_was_cut_off_is_never_given_an_end_of_turn_token(tmp_path, monkeypatch, answers):
    context = Context((), (Message("user", "?"),))
    whole, cut = Candidate(text="yes"), Candidate(text="no", fault="cut off", raw="no", cut=True)
    wrong = Verdict(False, 0.0)
    some = [
        Group(Task("a", "s", "c", "l", context), (cut, whole, Candidate(text="n")), (wrong, Verdict(True, 1.0), wrong)),
        Group(Task("b", "s", "c", "l", context), (cut,), (wrong,)),
    ]
    ends = []

    def encode(context, candidates, name):
        ends.extend(candidates)
        ids = [np.array([ord(letter) for letter in one.text] + [2], np.int32) for one in candidates]
        return EncodedGroup(np.array([1], np.int32), tuple(ids))

    given = {"read_card": lambda _: None, "card_hash": lambda _: "", "read_groups": lambda _: some}
    for name, value in given.items():
        monkeypatch.setattr(store, name, value)
    chat = SimpleNamespace(fingerprint="f", encode_group=encode)
    found = store.tokenise(tmp_path, chat, tmp_path / "tokens", answers)
    assert [group.id for group in found] == ["a"]
    assert cut not in ends
    assert len(found[0].responses) == (2 if answers == "all" else 1)
    assert store.left_out(tmp_path / "tokens") == {CUT_OFF: 2, NONE_WHOLE: 1}
