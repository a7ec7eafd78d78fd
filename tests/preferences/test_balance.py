"""Balanced sampling against the procedure written out: rounds over cells, most complex first."""

import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.errors import ConfigError
from toolrm_jax.preferences.balance import Scored, balance, by_bin, count_pairs, mix, quotas, swaps
from toolrm_jax.preferences.pairs import BINS, complexity, intensity_bin
from toolrm_jax.toolcalls.types import Call, Reference


def group(place, source="a", scores=(1.0, 0.0), complexity=3):
    return Scored(source, mix(place), complexity, scores, place)


def by_rounds(groups, total):
    """The procedure itself: cells hold sorted lists, each round takes the top of each; no quotas, no heaps."""
    tiers = ({}, {})
    for one in groups:
        if one.complexity > 50:
            continue
        bins = {}
        for better, high in enumerate(one.scores):
            for worse, low in enumerate(one.scores):
                if high > low:
                    tie = mix(one.key ^ (better << 8 | worse))
                    bins.setdefault(intensity_bin(high, low), []).append(
                        (-one.complexity, tie, one.place, better, worse)
                    )
        for where, pairs in bins.items():
            pairs.sort(key=lambda pair: pair[1])
            tiers[0].setdefault((one.source, where), []).append(pairs[0])
            tiers[1].setdefault((one.source, where), []).extend(pairs[1:])
    drawn = []
    for cells in tiers:
        for pairs in cells.values():
            pairs.sort(reverse=True)
        while any(cells.values()):
            this_round = [pairs.pop() for pairs in cells.values() if pairs]
            if len(drawn) + len(this_round) > total:
                return drawn, this_round
            drawn += this_round
    return drawn, []


@st.composite
def supplies(draw):
    count = draw(st.integers(1, 25))
    scores = st.lists(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 2 / 3, 0.9, 1.0]), min_size=2, max_size=5)
    return [
        group(i, draw(st.sampled_from("abc")), tuple(draw(scores)), draw(st.sampled_from([0, 1, 5, 50, 51])))
        for i in range(count)
    ]


@settings(max_examples=200, deadline=None)
@given(supplies(), st.integers(1, 60), st.integers(0, 3))
def test_what_is_drawn_is_what_the_rounds_draw(groups, total, seed):
    whole_rounds, broken = by_rounds(groups, total)
    drawn = {(-pair.complexity, pair.tie, pair.place, pair.better, pair.worse) for pair in balance(groups, total, seed)}
    assert set(whole_rounds) <= drawn
    assert drawn - set(whole_rounds) <= set(broken)
    assert len(drawn) == min(total, len(whole_rounds) + len(broken))


@settings(deadline=None)
@given(supplies(), st.integers(1, 60), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(groups, total, rng):
    shuffled = rng.sample(groups, len(groups))
    assert balance(shuffled, total, 0) == balance(groups, total, 0)


def test_a_skewed_supply_gives_a_flat_table_where_it_reaches():
    rng = random.Random(0)
    groups = []
    for source, count in (("huge", 4000), ("middling", 400), ("small", 30)):
        for _ in range(count):
            low = rng.choice([0.0] * 8 + [0.5, 2 / 3])  # most pairs are of full intensity
            groups.append(group(len(groups), source, (1.0, low), rng.randint(1, 9)))
    supply, _ = count_pairs(groups)
    drawn = Counter((pair.source, pair.bin) for pair in balance(groups, 300, 0))
    assert sum(drawn.values()) == 300
    level = max(drawn.values())
    assert len(supply) == len(drawn) == 9
    assert all(count in (level, level - 1) or count == supply[cell] for cell, count in drawn.items())
    assert any(count == supply[cell] for cell, count in drawn.items())
    assert max(supply.values()) / level > 50
    assert by_bin(drawn)["huge"]["(0.9, 1.0]"] == level


def test_the_most_complex_pairs_of_a_cell_are_taken():
    groups = [group(i, complexity=i) for i in range(60)]
    assert [pair.complexity for pair in balance(groups, 5, 0)] == [46, 47, 48, 49, 50]


def test_a_task_gives_a_bin_one_pair_as_long_as_others_have_some():
    several = group(0, scores=(1.0, 0.0, 0.0, 0.0), complexity=9)
    others = [group(i, complexity=1) for i in range(1, 4)]
    assert Counter(pair.place for pair in balance([several, *others], 4, 0)) == {0: 1, 1: 1, 2: 1, 3: 1}
    assert Counter(pair.place for pair in balance([several, *others], 5, 0)) == {0: 2, 1: 1, 2: 1, 3: 1}


@settings(deadline=None)
@given(st.dictionaries(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), st.integers(0, 9)), st.integers(0, 50))
def test_quotas_are_level_but_for_cells_that_run_out(supply, total):
    found = quotas(supply, total, 0)
    assert sum(found.values()) == min(total, sum(supply.values()))
    level = max(found.values(), default=0)
    assert all(count in (level, level - 1) or count == supply[cell] for cell, count in found.items())


@settings(deadline=None)
@given(st.fractions(0, 1, max_denominator=60), st.fractions(0, 1, max_denominator=60))
def test_bins_are_a_tenth_wide_and_closed_above(one, other):
    if one == other:
        return
    low, high = sorted((one, other))
    exact = -(-(high - low) * BINS // 1) - 1  # ceil − 1 in exact numbers
    assert intensity_bin(float(high), float(low)) == exact
    assert Fraction(exact, BINS) < high - low <= Fraction(exact + 1, BINS)


def test_complexity_counts_calls_and_their_arguments():
    assert complexity(Reference()) == 0
    assert complexity(Reference((Call("f", {"a": {"b": 1, "c": 2}}), Call("g", {})))) == 3


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_half_of_all_and_of_each_source_is_swapped(sources):
    pairs = [(i, source, mix(i)) for i, source in enumerate(sources)]
    chosen = swaps(pairs)
    assert len(chosen) == (len(pairs) + 1) // 2
    for source in set(sources):
        own = [i for i, name, _ in pairs if name == source]
        assert abs(2 * len(chosen & set(own)) - len(own)) <= 1


def test_no_pair_asked_for_is_one_line():
    with pytest.raises(ConfigError, match="pairs=0"):
        balance([], 0, 0)
