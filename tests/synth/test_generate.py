"""Answers written in process: those of transformers, and for every answer its own whatever stands beside it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch (extra `hf`) is the reference here")

import jax.numpy as jnp  # noqa: E402
from scipy.stats import chisquare  # noqa: E402

from tests.models.published import shrunken  # noqa: E402
from tests.models.tiny import KINDS, make  # noqa: E402
from toolrm_jax.errors import ModelError  # noqa: E402
from toolrm_jax.models.attention import Visible  # noqa: E402
from toolrm_jax.models.decode import decoder  # noqa: E402
from toolrm_jax.models.draw import Filters  # noqa: E402
from toolrm_jax.models.folder import load_model  # noqa: E402
from toolrm_jax.synth.generate import Limits, generate  # noqa: E402
from toolrm_jax.synth.generate_rows import Wanted  # noqa: E402

STOP = 5
GREEDY, SAMPLED = Filters(0), Filters(0.9)
SMALL = Limits(rows=16, chunk=64)


def prompts(count: int, longest: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(6, 211, length) for length in [1, *random.integers(1, longest, count - 1)]]


def answers(model, wanted, filters, limits=SMALL, max_tokens=12, stop_ids=(STOP,)):
    """Every answer by (context, seed)."""
    found = {}
    written = generate(model, wanted, stop_ids=stop_ids, max_tokens=max_tokens, filters=filters, limits=limits)
    seeds = {one.name: one.seeds for one in wanted}
    for one in (one for step in written for one in step):
        key = one.name, seeds[one.name][one.sample]
        assert key not in found, "an answer was given twice"
        found[key] = one
    assert set(found) == {(one.name, seed) for one in wanted for seed in one.seeds}
    return found


def of_every_length(count: int, lengths: list[int]) -> list[np.ndarray]:
    """So many prompts of each length."""
    random = np.random.default_rng(0)
    return [random.integers(6, 211, length) for length in lengths for _ in range(count)]


def transformers_answers(reference, given: list[np.ndarray], max_tokens: int) -> list[tuple[int, ...]]:
    """Greedy ones, each up to and with the stop token. Prompts of one length are asked together: nothing is padded."""
    found: dict[int, tuple[int, ...]] = {}
    for length in {len(prompt) for prompt in given}:
        which = [i for i, prompt in enumerate(given) if len(prompt) == length]
        ids = torch.tensor(np.stack([given[i] for i in which]).astype(np.int64))
        out = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=STOP,
            pad_token_id=0,
        )[:, length:]
        for i, row in zip(which, out.tolist()):
            found[i] = tuple(row[: row.index(STOP) + 1] if STOP in row else row)
    return [found[i] for i in range(len(given))]


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen3")
    reference = make("Qwen3", folder, "ForCausalLM", num_hidden_layers=2)
    model, _ = load_model(folder)
    return reference, model, decoder(model)


@pytest.mark.parametrize("kind", [*KINDS, "Llama-3.2-1B", "Qwen2.5-14B with YaRN"])
def test_greedy_answers_are_those_of_transformers_token_for_token(kind, tmp_path):
    made = make(kind, tmp_path, "ForCausalLM") if kind in KINDS else shrunken(kind, tmp_path, "ForCausalLM")
    model = decoder(load_model(tmp_path)[0])
    given = of_every_length(5, [1, 2, 7, 31, 63, 64, 65, 66, 100, 119])
    # A row for each, so that there is one size to compile; contexts of one chunk and of two.
    ours = answers(model, [Wanted(i, prompt, (0,)) for i, prompt in enumerate(given)], GREEDY, Limits(64, chunk=64))
    for i, expected in enumerate(transformers_answers(made, given, 12)):
        one = ours[i, 0]
        assert one.tokens + (STOP,) * one.stopped == expected, (i, len(given[i]))


def test_an_answer_depends_on_its_context_and_seed_alone(qwen3):
    model = qwen3[2]
    given = prompts(12, 100, seed=1)
    wanted = [Wanted(i, prompt, tuple(range(10 * i + 1, 10 * i + 6))) for i, prompt in enumerate(given)]
    together = answers(model, wanted, SAMPLED, Limits(rows=16, chunk=128))
    assert len({one.tokens for one in together.values()}) > 50, "seeds must tell answers apart"
    others = {
        "in another order": answers(model, wanted[::-1], SAMPLED, Limits(rows=16, chunk=128)),
        "in more rows": answers(model, wanted, SAMPLED, Limits(rows=64, chunk=128)),
        "with few in a wave": answers(model, wanted, SAMPLED, Limits(rows=8, chunk=64, wave=2)),
        "several steps at a time": answers(model, wanted, SAMPLED, Limits(rows=16, chunk=128, steps=5)),
        "in little memory": answers(model, wanted, SAMPLED, Limits(rows=16, chunk=128, cache_gib=2.5e-4)),
        "alone": answers(model, [wanted[7]], SAMPLED, Limits(rows=8, chunk=128)),
        "seed by seed": answers(model, [Wanted((0, s), given[3], (s,)) for s in wanted[3].seeds], SAMPLED),
    }
    for how, found in others.items():
        for (name, seed), one in found.items():
            same = together[3 if how == "seed by seed" else name, seed]
            assert (one.tokens, one.stopped) == (same.tokens, same.stopped), how
            np.testing.assert_allclose(one.logprobs, same.logprobs, atol=2e-5, err_msg=how)


def test_answers_end_at_the_stop_token_which_is_not_theirs_or_at_the_limit(qwen3):
    found = answers(qwen3[2], [Wanted("x", prompts(2, 30)[1], range(1, 65))], SAMPLED, stop_ids=range(40))
    assert {one.stopped for one in found.values()} == {True, False}
    for one in found.values():
        assert min(one.tokens, default=99) >= 40
        assert len(one.tokens) == len(one.logprobs)
        assert len(one.tokens) < 12 if one.stopped else len(one.tokens) == 12


def test_log_probabilities_are_those_of_a_pass_over_the_whole_text(qwen3):
    model = qwen3[1]
    given = prompts(6, 90, seed=2)
    found = answers(qwen3[2], [Wanted(i, p, (1, 2)) for i, p in enumerate(given)], Filters(1.3, top_k=60))
    texts = [[*given[i], *one.tokens] for (i, _), one in found.items()]
    longest = max(map(len, texts))
    text = jnp.asarray([one + [0] * (longest - len(one)) for one in texts])
    real = jnp.asarray([[1] * len(one) + [0] * (longest - len(one)) for one in texts])
    at = jnp.broadcast_to(jnp.arange(longest), text.shape)
    hidden, _ = model(text, at, Visible.of(real, jnp.zeros_like(at)))
    exact = model.log_probabilities(hidden, at[:, :-1], text[:, 1:])
    for ((i, _), one), row in zip(found.items(), exact):
        end = len(given[i]) - 1 + len(one.tokens)
        np.testing.assert_allclose(one.logprobs, row[len(given[i]) - 1 : end], atol=2e-5)


@pytest.mark.parametrize("filters", [Filters(), Filters(1.4, top_k=30, top_p=0.9)], ids=str)
def test_sampled_tokens_pass_a_chi_square_test_against_transformers_softmax(qwen3, filters):
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    prompt, count = prompts(2, 30, seed=3)[1], 6_000
    limits = Limits(rows=512, chunk=32)
    found = answers(qwen3[2], [Wanted("x", prompt, range(count))], filters, limits, max_tokens=2, stop_ids=())
    first = [one.tokens[0] for one in found.values()]
    favourite = max(set(first), key=first.count)
    second = [one.tokens[1] for one in found.values() if one.tokens[0] == favourite]
    for text, drawn in ((prompt, first), ([*prompt, favourite], second)):
        with torch.no_grad():
            scores = qwen3[0](torch.tensor(np.asarray(text)[None].astype(np.int64))).logits[:, -1]
        scores = scores / filters.temperature
        if filters.top_k:
            scores = TopPLogitsWarper(filters.top_p)(None, TopKLogitsWarper(filters.top_k)(None, scores))
        expected = torch.softmax(scores[0].double(), -1).numpy() * len(drawn)
        counts = np.bincount(drawn, minlength=len(expected))
        assert not counts[expected == 0].any()
        often = expected >= 5
        rare = expected[~often].sum() >= 5
        bins = [np.append(x[often], x[~often].sum()) if rare else x[often] for x in (counts, expected)]
        assert chisquare(bins[0], bins[1] * bins[0].sum() / bins[1].sum()).pvalue > 1e-3


def test_the_batch_grows_for_longer_contexts_and_shrinks_at_the_end(qwen3, monkeypatch):
    from toolrm_jax.synth import generate as module

    seen = []
    inner = module.decode

    def decode(model, cache, rows, *others):
        seen.append((len(rows.token), cache.slot_v[0].shape[2], int(rows.live.sum())))
        return inner(model, cache, rows, *others)

    monkeypatch.setattr(module, "decode", decode)
    lengths = [20, 20, 20, 20, 120, 20, 30, 20]
    given = [np.random.default_rng(i).integers(6, 211, length) for i, length in enumerate(lengths)]
    wanted = [Wanted(i, prompt, range(1, 10)) for i, prompt in enumerate(given)]
    found = answers(qwen3[2], wanted, SAMPLED, Limits(rows=32, chunk=32, wave=4), max_tokens=9, stop_ids=range(40))
    slots = [slot for _, slot, _ in seen]
    assert {32, 128} <= set(slots)
    assert slots.index(128) > 0, "the longest context is of the second wave"
    assert slots[-1] == 32, "slots are shorter again when the long one is done"
    assert seen[0][0] == 32
    assert seen[-1][0] == 8
    full = [live for rows, _, live in seen if rows == 32]
    assert np.mean(full[: len(full) // 2]) > 28, "rows that end are given the next answer"
    alone = answers(qwen3[2], [wanted[4]], SAMPLED, Limits(rows=8, chunk=128), max_tokens=9, stop_ids=range(40))
    assert all(found[key].tokens == one.tokens for key, one in alone.items())


def test_a_context_is_read_once_whatever_the_number_of_its_answers(qwen3, monkeypatch):
    from toolrm_jax.synth import generate as module

    read = []
    inner = module.prefill
    monkeypatch.setattr(module, "prefill", lambda *a: read.append(int(a[-1])) or inner(*a))
    given = prompts(5, 100, seed=4)
    answers(qwen3[2], [Wanted(i, prompt, range(40)) for i, prompt in enumerate(given)], SAMPLED)
    assert sum(read) == sum(len(prompt) - 1 for prompt in given)


def test_contexts_are_drawn_a_wave_at_a_time(qwen3):
    drawn = []

    def endless():
        while True:
            drawn.append(len(drawn))
            yield Wanted(drawn[-1], [9, 8, 7], (drawn[-1],))

    steps = generate(qwen3[2], endless(), stop_ids=(), max_tokens=3, filters=SAMPLED, limits=Limits(8, chunk=8, wave=8))
    sizes = []
    for _, _ in zip(range(30), steps):
        sizes.append(len(drawn))
    assert sizes[0] <= 16
    assert sizes[-1] <= 8 * (30 // 3 + 2)
    assert max(b - a for a, b in pairwise(sizes)) <= 8


def test_bfloat16_is_near(qwen3):
    _, model, exact = qwen3
    given = [Wanted(i, prompt, (1,)) for i, prompt in enumerate(prompts(12, 100, seed=5))]
    ours = answers(decoder(model, jnp.bfloat16), given, GREEDY, max_tokens=1, stop_ids=())
    truth = answers(exact, given, GREEDY, max_tokens=1, stop_ids=())
    apart = [abs(ours[key].logprobs[0] - truth[key].logprobs[0]) for key in truth]
    assert 0 < np.median(apart) < 0.1


@pytest.mark.parametrize(
    ("ids", "settings", "says"),
    [
        ([], {}, "context x: has no tokens"),
        ([7] * 501, {}, "501 tokens and 12 more are asked for, the model reads at most 512"),
        ([7] * 60, {"cache_gib": 1e-6}, "cache_gib=1e-06; raise it or lower max_tokens"),
        ([7], {"rows": 0}, "rows=0; expected a positive number"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(qwen3, ids, settings, says):
    with pytest.raises(ModelError, match=says):
        answers(qwen3[2], [Wanted("x", ids, (1,))], GREEDY, Limits(**{"rows": 16, "chunk": 64} | settings))


def test_nothing_wanted_is_nothing_written(qwen3):
    assert answers(qwen3[2], [], GREEDY) == {}
    assert answers(qwen3[2], [Wanted("x", [7, 8], ())], GREEDY) == {}
