"""How far our reading, decoding and comparison of BFCL agree with BFCL's own: writes docs/bfcl_comparison.md.

    python benchmarks/bfcl_disagreement.py [--data FOLDER] [--out docs/bfcl_comparison.md]

FOLDER is the unpacked `bfcl_outputs`: single_turn_pool.jsonl (answers graded by bfcl-eval) and raw/ (as published).
About 15 seconds on one CPU core.
"""

import argparse
import collections
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from real_groups import folder

from toolrm_jax.seeding import seeded
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.bfcl_answers import file_category, read_answers
from toolrm_jax.sources.bfcl_checker import LANGUAGES, check
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.types import Call, Candidate

EXAMPLES = 5
"""Examples shown for each direction."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="default: bfcl_outputs below TOOLRM_DATA")
    parser.add_argument("--out", type=Path, default=Path("docs/bfcl_comparison.md"))
    options = parser.parse_args()
    data = options.data or folder("TOOLRM_DATA", "toolrm-data", "bfcl_outputs")
    pool = [json.loads(line) for line in (data / "single_turn_pool.jsonl").open(encoding="utf-8")]
    parts = [HEAD, grading(pool), comparison(pool), decoding(pool, data / "raw")]
    options.out.write_text("\n".join(parts), encoding="utf-8")


def answers_of(row: Mapping[str, Any]) -> Iterator[tuple[bool, Mapping[str, Any]]]:
    """(right by BFCL, answer) for every distinct answer to a question of the pool."""
    for answer in row["right"]:
        yield True, answer
    for answer in row["wrong"]:
        yield False, answer


def calls_of(answer: Mapping[str, Any]) -> tuple[Call, ...]:
    return tuple(Call(name, arguments) for call in answer["call"] for name, arguments in call.items())


def grading(pool: Sequence[Mapping[str, Any]]) -> str:
    """The adapter of BFCL's checker against the verdicts in the pool."""
    graded, kinds = 0, collections.Counter()
    for row in pool:
        for right, answer in answers_of(row):
            if answer["call"] is None:
                continue
            graded += 1
            verdict = check(row["category"], row["id"], calls_of(answer))
            kinds["verdict"] += verdict.right != right
            kinds["label"] += verdict.bfcl_error_type != answer.get("bfcl_error_type")
            kinds["error type"] += verdict.error_type != answer.get("error_type")
    different = ", ".join(f"{name} {count}" for name, count in kinds.items())
    return GRADING.format(graded=graded, different=different)


def comparison(pool: Sequence[Mapping[str, Any]]) -> str:
    """Our strict comparison against BFCL's verdicts, per category and direction, with examples."""
    tasks = {task.id: task for task in bfcl.read(categories=bfcl.ANSWERED)}
    table: dict[str, collections.Counter] = {category: collections.Counter() for category in bfcl.ANSWERED}
    types, examples = collections.Counter(), {True: [], False: []}
    for row in pool:
        task = tasks[row["id"]]
        for right, answer in answers_of(row):
            if answer["call"] is None or task.reference is None:
                continue
            verdict = judge(task, Candidate(calls_of(answer)))
            counts, models = table[row["category"]], len(answer["models"])
            counts[right, verdict.right] += 1
            counts["models", right != verdict.right] += models
            if right != verdict.right and row["category"] not in LANGUAGES:
                said = verdict.reason if right else answer["bfcl_error"]
                examples[right].append((row["id"], answer["call"], said))
            if not right and not verdict.right:
                types[answer["error_type"] == verdict.error_type] += 1
    rows = [_table_row(category, counts) for category, counts in table.items()]
    for title, chosen in (
        ("Python", [category for category in bfcl.ANSWERED if category not in LANGUAGES]),
        ("Java, JavaScript", list(LANGUAGES)),
        ("all", list(bfcl.ANSWERED)),
    ):
        rows.append(_table_row(f"**{title}**", sum((table[category] for category in chosen), collections.Counter())))
    shown = {right: "\n".join(_example(item) for item in _chosen(items)) for right, items in examples.items()}
    return COMPARISON.format(
        rows="\n".join(rows), stricter=shown[True], laxer=shown[False], same_type=_share(types[True], types.total())
    )


def _table_row(name: str, counts: Mapping[Any, int]) -> str:
    right, wrong = counts[True, True] + counts[True, False], counts[False, True] + counts[False, False]
    differ = counts[True, False] + counts[False, True]
    models = counts["models", True]
    return (
        f"| {name} | {right} | {counts[True, False]} ({_share(counts[True, False], right)}) "
        f"| {wrong} | {counts[False, True]} ({_share(counts[False, True], wrong)}) "
        f"| {_share(differ, right + wrong)} | {_share(models, models + counts['models', False])} |"
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _chosen(items: list[Any]) -> list[Any]:
    """A seeded draw of examples from different questions."""
    questions = {item[0]: item for item in items}
    return seeded(0, "bfcl examples").sample(list(questions.values()), min(EXAMPLES, len(questions)))


def _example(item: tuple[str, Any, str]) -> str:
    question, call, said = item
    return f"- {question}: `{_cut(json.dumps(call, ensure_ascii=False))}`: {_cut(said)}"


def _cut(text: str) -> str:
    return text if len(text) <= 240 else f"{text[:240]}..."


def decoding(pool: Sequence[Mapping[str, Any]], raw: Path) -> str:
    """Our decoding of the published files against the pool's, by question, notation and model."""
    known = {(row["id"], model): answer for row in pool for _, answer in answers_of(row) for model in answer["models"]}
    counts: dict[str, collections.Counter] = {}
    reasons: collections.Counter = collections.Counter()
    for path in sorted(raw.rglob("*.json")):
        repository = path.relative_to(raw).parts[0]
        count = counts.setdefault(repository, collections.Counter())
        model, code = pool_model(path, raw), file_category(path.name) in LANGUAGES
        for question, _, candidate in read_answers(path):
            count["lines"] += 1
            count["faults"] += candidate.fault is not None
            if (answer := known.get((question, model))) is None:
                continue
            count["in pool"] += 1
            outcome = _outcome(answer, candidate)
            count[outcome] += 1
            if outcome != "same":
                reasons[outcome, "Java, JavaScript" if code else "Python"] += 1
    rows = [_decoding_row(name, count) for name, count in counts.items()]
    rows.append(_decoding_row("**all**", sum(counts.values(), collections.Counter())))
    kinds = "\n".join(f"- {what}, {language}: {count}" for (what, language), count in reasons.most_common())
    return DECODING.format(rows="\n".join(rows), kinds=kinds)


def _outcome(answer: Mapping[str, Any], candidate: Candidate) -> str:
    if candidate.fault is not None:
        return "same" if answer["call"] is None else "decoded by BFCL alone"
    if answer["call"] is None:
        return "decoded by us alone"
    calls = [{call.name: call.arguments} for call in candidate.calls]
    return "same" if calls == answer["call"] else "decoded to other calls"


def _decoding_row(name: str, count: Mapping[str, int]) -> str:
    return (
        f"| {name} | {count['lines']} | {count['faults']} ({_share(count['faults'], count['lines'])}) "
        f"| {count['in pool']} | {_share(count['same'], count['in pool'])} |"
    )


def pool_model(path: Path, raw: Path) -> str:
    """The pool's name for the model of a result file."""
    repository, *folders = [part for part in path.relative_to(raw).parts[:-1] if part not in ("live", "non_live")]
    model = folders[-1]
    if repository.startswith("HuanzhiMao"):
        return model
    if repository.startswith("bbrowning"):
        return f"{model}@vllm-{folders[-3]}"
    if repository.startswith("vgangal101"):
        return f"{model}@vgangal101"
    if repository.startswith("ShishirPatil"):
        return SHISHIR[model]
    if model.endswith("-leaderboard"):
        return model.replace("-leaderboard", "@leaderboard")
    run = folders[-2].removeprefix("result-")
    return f"{model}@{AAFV_RUNS.get(run, run)}"


AAFV_RUNS = {"quantize": "quantized", "result": "agent-v003"}
SHISHIR = {
    "result_claude_fix": "claude-unnamed-FC@pr1205",
    "result_deepseek": "DeepSeek-V3.1-Terminus-FC@pr1205",
    "AIREV-Agent-0.8B": "airev-ai_AIREV-Agent-0.8B@pr1319",
    "roshangrewal_gemma4-e4b-toolcall-v02": "gemma4-e4b-toolcall-v02@pr1344",
}

HEAD = """# Our verdicts beside BFCL's

Made by `python benchmarks/bfcl_disagreement.py` from the published answers of 90 models to 1,762 single-turn
questions of BFCL (package bfcl-eval 2026.3.23). Nothing here is an estimate: every answer is counted.
"""

GRADING = """## BFCL's own checker behind our adapter

`sources/bfcl_checker.py` grades all {graded} distinct decodable answers anew. Different from the recorded grades:
{different}.
"""

COMPARISON = """## The strict comparison (`toolcalls/compare.py`) against BFCL's checker

Distinct decodable answers. "Stricter": right for BFCL, wrong for us. "Laxer": wrong for BFCL, right for us. The last
column weighs each answer by how many models gave it.

| category | right for BFCL | stricter | wrong for BFCL | laxer | disagree | disagree, by models |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

Where both say wrong, the error type is the same for {same_type}.

Why they differ:

- Stricter, Python: BFCL compares strings without spaces and without `,./-_*^`; we only without regard to case. So
  `x^2` passes there for `x**2`, `Washington, DC` for `Washington DC`, and `/foo/bar/` for `/foo/bar`.
- Stricter, one question: `live_simple_44-18-0` has 128 accepted objects, of which 64 are kept.
- Laxer: a whole number counts as the same in either form (`4.0` for `4`), where BFCL demands Python's type; inside
  lists it even calls `3` wrong where a float is declared. Two questions' possible answers, an empty list of values,
  cannot be met in BFCL; we read them as the empty list.
- Java and JavaScript: BFCL has every value written as source text (`"true"`, `"3L"`), while our references and
  schemas are typed JSON (`true`, `3`). The strict comparison says nothing of such answers: use BFCL's checker there,
  which also takes typed values.

Stricter, Python categories:

{stricter}

Laxer, Python categories (with BFCL's message):

{laxer}
"""

DECODING = """## Decoding the published answers

`sources/bfcl_answers.py` over every line. "Not decodable" counts only categories where some call is right; elsewhere
such a text is a reply. "Same": as in the pool, which was decoded as BFCL did for each model, undecodable ones included.

| repository | lines | not decodable | in the pool | same |
| --- | --- | --- | --- | --- |
{rows}

The others:

{kinds}

- Decoded by BFCL alone: it takes names and expressions for values (`data=my_data` becomes `"my_data"`, `true` becomes
  `"true"`), drops positional arguments, reads Python dictionaries as JSON, and cuts some models' calls out of the text
  around them. Here these are faults, as they would be for a program that has to run the calls.
- Decoded by us alone: lists in Java calls, parameters named by a Python keyword (`from=`), Gemini's text between calls,
  quoted lists, and text after a code fence.
- Other calls: Granite's `no_function` is no call here, and white space inside Java expressions is kept.
"""

if __name__ == "__main__":
    main()
