"""The builders on the recorded answers of real models: the pool, and the raw result files of both layouts.

The raw files hold more than the pool: questions whose wording was another in 2024, and categories without calls.
"""

import json
from collections import Counter

import pytest

from toolrm_jax.cli import main
from toolrm_jax.evals import build_pairs, fc_rewardbench, trbench
from toolrm_jax.evals.rebuilt import rebuilt
from toolrm_jax.files import CARD
from toolrm_jax.sources.bfcl_answers import OTHER_FILE
from toolrm_jax.sources.bfcl_outputs import read_graded
from toolrm_jax.sources.drops import Drops

WEAK = "airev-ai_AIREV-Agent-0.8B"
"""The model that `fc_pairs.jsonl` leaves out: it gave a quarter of all wrong answers."""


@pytest.fixture(scope="module")
def outputs(data_folder):
    pytest.importorskip("bfcl_eval", reason="pip install --no-deps bfcl-eval")
    return data_folder("bfcl_outputs")


@pytest.fixture(scope="module")
def pool(outputs):
    return {one.task.id: one for one in read_graded(outputs)}


def calls_of(one):
    """The answers that are calls, none among them, by what they call."""
    found = {}
    for answer in one.answers:
        if answer.candidate.fault is None:
            calls = [[call.name, call.arguments] for call in answer.candidate.calls]
            found[json.dumps(calls, sort_keys=True)] = answer
    return found


@pytest.mark.slow
def test_verdicts_on_raw_results_are_those_of_the_pool_wherever_both_hold_the_call(outputs, pool):
    drops = Drops()
    raw = {one.task.id: one for one in read_graded(outputs / "raw", drops)}
    assert drops.total == 0
    assert (len(pool), len(raw), len(pool.keys() & raw.keys())) == (1762, 2902, 1762)
    both = Counter()
    for question, one in pool.items():
        ours = calls_of(raw[question])
        for key, answer in calls_of(one).items():
            if (other := ours.get(key)) is not None:
                both["calls"] += 1
                both["verdict differs"] += answer.verdict.right != other.verdict.right
                both["label differs"] += answer.label != other.label
                both["error type differs"] += answer.verdict.error_type != other.verdict.error_type
    assert both == {"calls": 8500, "verdict differs": 0, "label differs": 0, "error type differs": 0}


@pytest.mark.slow
def test_fc_pairs_are_drawn_anew_with_fc_rewardbenchs_shares(outputs, pool):
    """`fc_pairs.jsonl` was drawn by other code: 1,172 pairs, 50.7 % of them of wrong values and 14.0 % of names."""
    built = build_pairs.outcome(pool.values(), without=(WEAK,))
    types = Counter(pair.wrong.verdict.error_type for pair in built.pairs)
    away = {
        kind: 100 * (types[kind] / len(built.pairs) - part / 1500) for kind, part in build_pairs.FCRB_SHARES.items()
    }
    assert len(built.pairs) == 1227
    assert max(map(abs, away.values())) < 2.5, "percentage points from FC-RewardBench's share"
    theirs = {group.task.id for group in fc_rewardbench.read(outputs / "fc_pairs.jsonl").groups}
    ours = {pair.graded.task.id for pair in built.pairs}
    assert (len(theirs & ours), len(theirs - ours), len(ours - theirs)) == (1146, 26, 81)
    # Of theirs alone are debatable ones, and a question whose own answer has a parameter that its function lacks.
    left = [pool[id] for id in theirs - ours]
    fair = [one.task.id for one in left if not any(build_pairs.debatable(one, one.right, wrong) for wrong in one.wrong)]
    assert fair == ["live_multiple_406-140-2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "kind", "pairs"),
    [
        ("HuanzhiMao+BFCL-Result/2024-08-11", "outcome", 786),
        ("HuanzhiMao+BFCL-Result/2024-08-11", "agentic", 2090),
        ("bbrowning+bfcl-vllm-results", "outcome", 702),
        ("bbrowning+bfcl-vllm-results", "agentic", 1029),
    ],
)
def test_both_builders_take_both_layouts_of_raw_results(outputs, tmp_path, layout, kind, pairs):
    pytest.importorskip("pyarrow")
    built = tmp_path / "built"
    assert main(["eval", "build", f"path={outputs / 'raw' / layout}", f"output={built}", f"kind={kind}"]) == 0
    found = (fc_rewardbench if kind == "outcome" else trbench).read(built)
    counts = json.loads((built / CARD).read_text())["counts"]
    assert sum(len(group.candidates) - 1 for group in found.groups) == counts["pairs"] == pairs
    assert (found.name, found.published) == (f"{rebuilt(built).form} rebuilt", ())
    assert max(counts["error types"].values()) <= (0.55 if kind == "outcome" else 1) * pairs


@pytest.mark.slow
def test_single_turns_and_runs_lie_in_one_folder_as_bfcl_leaves_them(outputs, data_folder, tmp_path):
    """`result/MODEL/{non_live,live,multi_turn}` with `score/` beside it, given twice: as answers and as runs."""
    pytest.importorskip("pyarrow")
    run = "results/2025-11-12-harmony-fixes-2"
    folder = tmp_path / "harmony-fixes-2"
    for part, kinds in (("result", ("non_live", "live", "multi_turn")), ("score", ("multi_turn",))):
        for kind in kinds:
            source = (
                data_folder("bfcl_multi_turn") if kind == "multi_turn" else outputs / "raw/bbrowning+bfcl-vllm-results"
            )
            place = folder / part / "openai_gpt-oss-120b" / kind
            place.mkdir(parents=True)
            for file in (source / run / part / "openai_gpt-oss-120b" / kind).iterdir():
                (place / file.name).symlink_to(file)
    built = tmp_path / "built"
    words = [f"path={folder}", f"multi_turn={folder}", f"output={built}", "kind=agentic"]
    assert main(["eval", "build", *words]) == 0
    card = json.loads((built / CARD).read_text())
    assert card["drops"][OTHER_FILE] == 6
    assert {"multi_turn_base", "simple_python", "live_multiple"} <= card["counts"]["categories"].keys()
    assert {group.task.category for group in trbench.read(built).groups} <= trbench.SPLITS.keys()
