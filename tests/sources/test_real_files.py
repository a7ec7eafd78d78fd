"""Every source on all of its published files: what is read and what is dropped adds up to what was published."""

import collections
import dataclasses

import pytest

from toolrm_jax import sources
from toolrm_jax.sources import Drops
from toolrm_jax.sources.drops import (
    BAD_ARGUMENTS,
    BAD_CALL,
    FAILED_RESULT,
    FAILED_RUN,
    NO_ANSWER,
    NO_TOOLS,
    REPEATED_CALL,
    ROLE_ORDER,
    SAME_NAME,
    UNKNOWN_TOOL,
)
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.types import Candidate, Task


@dataclasses.dataclass
class Told:
    """What reading gave: tasks by category and by what is right (calls, words, or not known), and the drops."""

    counts: dict
    drops: dict
    some: list[Task]

    def of(self, kind, *categories):
        return sum(count for (name, what), count in self.counts.items() if what == kind and name in categories)


def told(folder, name, strict=False, every=97):
    drops, counts, some, ids = Drops(), collections.Counter(), [], set()
    for number, task in enumerate(sources.read(name, folder, drops=drops, strict=strict)):
        kind = "unknown" if task.reference is None else "calls" if task.reference.calls else "words"
        counts[task.category, kind] += 1
        ids.add(task.id)
        assert task.source == name
        if number % every == 0:
            some.append(task)
    assert len(ids) == counts.total()
    for task in some:
        assert Task.from_json(task.to_json()) == task
        assert any(message.role == "user" for message in task.context.messages)
        assert len({tool.name for tool in task.context.tools}) == len(task.context.tools)
        if task.reference is not None and task.reference.calls:
            assert judge(task, Candidate(task.reference.calls)).right, task.id
    return Told(dict(counts), dict(drops.counts), some)


@pytest.fixture(scope="module")
def sgd(data_folder):
    return told(data_folder("sgd"), "sgd", every=997)


def test_sgd_has_a_task_for_every_system_turn(sgd):
    assert sgd.counts == {
        ("train", "calls"): 33_963 - 18,
        ("train", "words"): 77_915,
        ("dev", "calls"): 6_027,
        ("dev", "words"): 13_357,
        ("test", "calls"): 7_658,
        ("test", "words"): 17_205,
    }
    assert sgd.drops == {BAD_ARGUMENTS: 18}  # calls of two services that lack a required slot


def test_sgd_parts_are_the_whole(data_folder, sgd):
    source = sources.SOURCES["sgd"]
    parts = source.parts(data_folder("sgd"))
    assert len(parts) == 96 + 17 + 24
    drops = Drops()
    first = [task.id for task in source.read(parts[17], drops)]
    whole = source.read(data_folder("sgd") / "test", Drops())
    assert first == [next(whole).id for _ in first]


def test_star_reads_every_query_and_reply(data_folder):
    found = told(data_folder("star"), "star", every=499)
    calls = found.of("calls", "happy", "unhappy")
    assert found.drops == {BAD_CALL: 216, BAD_ARGUMENTS: 178}
    assert calls + 216 + 178 == 22_169
    assert sum(found.counts.values()) - calls == 53_923  # replies after the user has spoken, side by side ones joined


def test_taskmaster_reads_every_annotated_call(data_folder):
    found = told(data_folder("taskmaster"), "taskmaster")
    assert found.counts == {("TM-4-2024", "calls"): 15_395 - 28, ("TM-4-2024", "words"): 6_920}
    assert found.drops == {BAD_CALL: 28}  # requests with doubled quotes, which are no JSON


def test_taskmaster_rewards_are_those_that_people_gave(data_folder):
    drops, counts = Drops(), collections.Counter()
    for group in sources.read_candidates("taskmaster", data_folder("taskmaster"), drops=drops):
        (candidate,), (verdict,) = group.candidates, group.verdicts
        counts[group.task.category, verdict.right] += 1
        counts[group.task.category, verdict.right, "call"] += bool(candidate.calls)
        assert (group.task.reference is not None) == verdict.right
    assert counts == {
        ("TM-4-2024", True): 2_775,
        ("TM-4-2024", False): 453,
        ("TM-3-2020", True): 573,
        ("TM-3-2020", False): 3_094,
        ("TM-4-2024", True, "call"): 2_077,
        ("TM-4-2024", False, "call"): 356,
        ("TM-3-2020", True, "call"): 407,
        ("TM-3-2020", False, "call"): 1_565,
    }
    assert drops.total == 0


def test_seal_tools(data_folder):
    found = told(data_folder("seal_tools"), "seal_tools", every=1)
    assert sum(found.counts.values()) + 15 + 8 == 700 + 700 + 654
    assert found.drops == {BAD_ARGUMENTS: 15, UNKNOWN_TOOL: 8}
    ordered = [task for task in found.some if task.reference.ordered]
    assert 80 <= len(ordered) <= 85  # the nested ones
    assert all("API_call_" in str(task.reference.calls) for task in ordered)
    calls = sum(len(task.reference.calls) for task in found.some)
    assert 5_536 - 23 * 8 <= calls <= 5_536


def test_apibank_reads_every_call_but_those_of_tools_not_yet_found(data_folder):
    found = told(data_folder("apibank"), "apibank", every=1)
    assert found.of("calls", "level-1", "level-2") == 508 - 13
    assert found.drops == {UNKNOWN_TOOL: 13}
    searches = [task for task in found.some if task.category == "level-2" and len(task.context.messages) == 1]
    assert {tool.name for task in searches for tool in task.context.tools} == {"ToolSearcher"}


def test_hammer_tests(data_folder):
    found = told(data_folder("hammer_tests"), "hammer_tests", every=1)
    published = {"apibank_l1": 399, "apibank_l2": 127, "sealtool": 294, "toolalpaca": 114}
    assert sum(found.counts.values()) + sum(found.drops.values()) == sum(published.values())
    assert found.counts[("sealtool", "calls")] == 294
    assert found.drops == {BAD_ARGUMENTS: 13, UNKNOWN_TOOL: 12, REPEATED_CALL: 3}


def test_toolalpaca(data_folder):
    found = told(data_folder("toolalpaca"), "toolalpaca", every=1)
    assert sum(found.counts.values()) + sum(found.drops.values()) == 100 + 114
    assert found.drops == {UNKNOWN_TOOL: 15, NO_ANSWER: 8, BAD_ARGUMENTS: 4, BAD_CALL: 4, REPEATED_CALL: 3}


def test_toolalpaca_runs_have_the_verdicts_of_their_judge(data_folder):
    drops = Drops()
    groups = list(sources.read_candidates("toolalpaca", data_folder("toolalpaca"), drops=drops))
    verdicts = collections.Counter((group.task.category, group.verdicts[0].right) for group in groups)
    assert verdicts == {
        ("ToolAlpaca7b", True): 63,
        ("ToolAlpaca7b", False): 35,
        ("ToolAlpaca13b", True): 68,
        ("ToolAlpaca13b", False): 27,
    }
    assert drops.counts == {NO_ANSWER: 200 - 193}  # uncertain, or not judged
    assert sum(group.candidates[0].fault is not None for group in groups) == 1


def test_glaive(data_folder):
    found = told(data_folder("glaive"), "glaive", every=1)
    english = found.of("calls", "glaive_toolcall_en_demo")
    assert english == 211 - 1
    assert found.drops == {NO_TOOLS: 211, BAD_ARGUMENTS: 10, ROLE_ORDER: 2}
    assert found.of("calls", "reason_tool_use_demo_50") > 40


def test_acebench(data_folder):
    found = told(data_folder("acebench"), "acebench", every=1)
    assert sum(found.counts.values()) + sum(found.drops.values()) == 1_023 + 1_017
    special = [f"{language}/special_{kind}" for language in ("en", "zh") for kind in ("incomplete", "irrelevant")]
    assert found.of("words", *special) == 200
    assert sum(count for (name, kind), count in found.counts.items() if kind == "unknown") == 100
    assert found.drops == {BAD_ARGUMENTS: 14, NO_ANSWER: 1, SAME_NAME: 1}


def test_nexusraven(data_folder):
    found = told(data_folder("nexusraven"), "nexusraven", every=1)
    plain = {"cve_cpe": 78, "emailrep": 38, "virustotal": 151}
    assert {name: found.counts[name, "calls"] for name in plain} == plain
    assert found.of("calls", "toolllm") == 21 - 5
    assert set(found.drops) == {BAD_ARGUMENTS}


def test_stabletoolbench(data_folder):
    found = told(data_folder("stabletoolbench"), "stabletoolbench", every=1)
    assert sum(found.counts.values()) + found.drops[SAME_NAME] == 765
    assert {kind for _, kind in found.counts} == {"unknown"}
    groups = list(sources.read_candidates("stabletoolbench", data_folder("stabletoolbench"), strict=True))
    assert len(groups) == 3
    assert sum(len(group.candidates) for group in groups) == 6


def test_toolbench(data_folder):
    found = told(data_folder("toolbench"), "toolbench", every=1)
    paths = {task.id.rpartition("/")[0] for task in found.some}
    assert len(paths) + found.drops.get(NO_ANSWER, 0) + found.drops.get(ROLE_ORDER, 0) == 15
    assert any(call.name == "Finish" for task in found.some for call in task.reference.calls)


def test_tooleyes(data_folder):
    found = told(data_folder("tooleyes"), "tooleyes", every=1)
    assert sum(found.counts.values()) + found.drops[SAME_NAME] == 382
    assert len({name for name, _ in found.counts}) == 7


def test_bfcl_multi_turn_questions_and_runs(data_folder, bfcl_eval):
    questions = told(None, "bfcl_multi_turn", every=7)
    assert sum(questions.counts.values()) + sum(questions.drops.values()) == 800
    found = told(data_folder("bfcl_multi_turn"), "bfcl_multi_turn")
    failed = 76 + 99 + 105 + 116 + 120 + 136 + 97 + 121 + 121
    assert found.drops[FAILED_RUN] == failed
    assert found.drops[FAILED_RESULT] > 0
    runs = collections.Counter(
        verdict.right
        for group in sources.read_candidates("bfcl_multi_turn", data_folder("bfcl_multi_turn"), strict=True)
        for verdict in group.verdicts
    )
    assert runs == {False: failed, True: 1_800 - failed}


def test_bfcl_outputs_are_the_graded_pool(data_folder, bfcl_eval):
    drops, counts = Drops(), collections.Counter()
    for group in sources.read_candidates("bfcl_outputs", data_folder("bfcl_outputs"), drops=drops):
        counts["questions"] += 1
        for candidate, verdict in zip(group.candidates, group.verdicts):
            counts["right" if verdict.right else "wrong"] += 1
            assert candidate.fault is None or not verdict.right
    assert counts == {"questions": 1_762, "right": 2_993, "wrong": 10_552}
    assert drops.total == 0


def test_bfcl_result_files_are_graded_like_the_pool(data_folder, bfcl_eval):
    """One model of the v4 layout, whose questions are today's: no answer is graded otherwise than in the pool."""
    folder = data_folder("bfcl_outputs")
    pooled = {}
    for group in sources.read_candidates("bfcl_outputs", folder):
        for candidate, verdict in zip(group.candidates, group.verdicts):
            pooled[group.task.id, str([call.to_json() for call in candidate.calls])] = verdict.right
    raw = folder / "raw" / "vgangal101+gorilla_bfcl"
    compared = 0
    for group in sources.read_candidates("bfcl_outputs", raw, strict=True):
        for candidate, verdict in zip(group.candidates, group.verdicts):
            key = group.task.id, str([call.to_json() for call in candidate.calls])
            if candidate.calls and key in pooled:
                assert pooled[key] == verdict.right, key
                compared += 1
    assert compared > 1_000
