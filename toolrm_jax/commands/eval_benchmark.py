"""The benchmarks of `toolrm eval benchmark=…`: who judges, what is kept of it, and the report."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolrm_jax.commands import hub, settings
from toolrm_jax.commands.backbone import backbone
from toolrm_jax.commands.eval import command_line, identity_of, likelihoods
from toolrm_jax.commands.remembered import remembered
from toolrm_jax.commands.same_server import same_server
from toolrm_jax.commands.trained import Opened, open_folder, open_reward_model
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals import diagnosis
from toolrm_jax.evals.baselines import Judge, without_model
from toolrm_jax.evals.benchmark import Benchmark, Drawing, Measure, Metric
from toolrm_jax.evals.handrule import HAND_RULE
from toolrm_jax.evals.judges import per_call, reward_judge, with_hand_rule
from toolrm_jax.evals.pairwise import PairJudge, ask, knockout
from toolrm_jax.evals.registry import entry
from toolrm_jax.evals.report import confident_mistakes
from toolrm_jax.evals.results import NO_MODEL, Judged, Result, Suite, save
from toolrm_jax.evals.scores import Scores, unread_note
from toolrm_jax.evals.suite_report import write_suite_report
from toolrm_jax.toolcalls.types import Group

if TYPE_CHECKING:
    from toolrm_jax.commands.eval import Config
    from toolrm_jax.evals.scoring import Clock

SCORES = "scores"
PATTERNS = ("*.arrow", "*.parquet", "*.json", "*.jsonl")
KNOCKOUT = "by one knockout among all distinct answers, whose ranks serve every smaller choice too"


def run_benchmarks(config: Config) -> int:
    """Judge every benchmark; results and report are written as soon as each of them is done."""
    output = Path(config.output)
    benchmarks = _told_apart([(name, part) for name in config.benchmark for part in read(name, config)])
    panel = _judges(config, output)
    settings.save(config, output)
    judged: list[Judged] = []
    report = output / "report.html"
    for benchmark in benchmarks:
        judged.append(judge(benchmark, panel))
        _print(judged[-1])
        suite = Suite(_title(config), command_line(config), tuple(judged), settings.as_json(config))
        save(suite, output)
        write_suite_report(report, [suite])
    print(f"report: {report}")
    return 0


def read(name: str, config: Config) -> tuple[Benchmark, ...]:
    """The benchmark `NAME` or `NAME:PATH`, in the parts that are reported apart."""
    name, _, path = name.partition(":")
    found = entry(name)
    where = path or found.hub
    if where is None:
        raise ConfigError(f"benchmark={name}: it has no usual place; say benchmark={name}:PATH")
    return found.read(place(where), config.max_pairs, config.seed)


def _told_apart(parts: Sequence[tuple[str, Benchmark]]) -> list[Benchmark]:
    """The benchmarks, those of the same name called by where they lie too. Raises ConfigError for one given twice."""
    times = Counter(part.name for _, part in parts)
    found = [
        part if times[part.name] == 1 else dataclasses.replace(part, name=f"{part.name} ({where})")
        for where, part in parts
    ]
    if len(twice := Counter(part.name for part in found)) < len(found):
        raise ConfigError(f"benchmark: {twice.most_common(1)[0][0]} is there twice; name every benchmark once")
    return found


def place(path: str) -> Path:
    """The file or folder; a hub id is downloaded."""
    local = Path(path).expanduser()
    if local.exists():
        return local
    if not hub.is_id(path):
        raise DataError(f"{path}: no such file or folder; give a benchmark's file, folder or hub id")
    return hub.download(path, "dataset", PATTERNS, DataError)


@dataclasses.dataclass(slots=True)
class Panel:
    """Who judges: the scalar judges, the one that matters first; those that compare; how to score again otherwise.

    diagnosed: whether it is told what the first scalar judge's scores depend on: not where it stands only beside a
    language model that was evaluated.
    """

    scalar: list[Judge]
    pairwise: list[PairJudge]
    diagnosed: bool
    again: Callable[[Sequence[Group]], tuple[Measure, ...]] | None
    clock: Clock


def judge(benchmark: Benchmark, panel: Panel) -> Judged:
    """One benchmark under every judge. Where scores are needed, one that compares plays its answers off."""
    print(f"judging {len(benchmark.groups):,} groups: {benchmark.name}", flush=True)
    before = dict(panel.clock.seconds)
    groups, metric, results = benchmark.groups, benchmark.metric, []
    for one in panel.pairwise:
        if metric.of_credits is None:
            scores, tally = knockout(one, groups)
            note = "; ".join(part for part in (KNOCKOUT, tally.note, unread_note(scores)) if part)
            results.append(_result(one, metric, metric.name, metric.of_scores(groups, scores), note))
            continue
        asked = ask(one, groups)
        note = f"{asked.tally.note}: these count as wrong"
        results += [_result(one, metric, name, some, note) for name, some in asked.measures(metric).items()]
    first: Scores | None = None
    for one in panel.scalar:
        scores = one(groups)
        first = scores if first is None and panel.diagnosed else first
        results.append(_result(one, metric, metric.name, metric.of_scores(groups, scores), unread_note(scores)))
    seconds = {part: spent - before.get(part, 0.0) for part, spent in panel.clock.seconds.items()}
    diagnosed, drawings = _diagnosed(benchmark, first)
    drawings += _drawn(benchmark, results)
    found = diagnosed + (panel.again(groups) if panel.again else ())
    mistakes = confident_mistakes(benchmark.name, groups, first) if first is not None and _pairs(benchmark) else ()
    return Judged(
        benchmark.name,
        benchmark.note,
        benchmark.real,
        len(groups),
        tuple(results),
        benchmark.facts,
        tuple(row for row in benchmark.published if row.metric in {result.metric for result in results}),
        found,
        drawings,
        mistakes,
        {part: round(spent, 3) for part, spent in seconds.items() if spent > 0},
    )


def _result(judge: Judge | PairJudge, metric: Metric, name: str, measures: tuple[Measure, ...], note: str) -> Result:
    headline = tuple((one.part, one.name) for one in measures if metric.headline(one))
    return Result(judge.name, name, measures, judge.about, note, headline)


def _pairs(benchmark: Benchmark) -> bool:
    return benchmark.metric.of_credits is not None


def _diagnosed(benchmark: Benchmark, scores: Scores | None) -> tuple[tuple[Measure, ...], tuple[Drawing, ...]]:
    """What the first scalar judge's scores depend on, for benchmarks of pairs."""
    if scores is None or not _pairs(benchmark):
        return (), ()
    drawing, error = diagnosis.calibration(benchmark.groups, scores)
    leanings = diagnosis.leanings(benchmark.groups, scores)
    return (error, *leanings, *diagnosis.by_context(benchmark.groups, scores)), (drawing,)


def _drawn(benchmark: Benchmark, results: Sequence[Result]) -> tuple[Drawing, ...]:
    return (benchmark.metric.draw(results[0].measures),) if benchmark.metric.draw and results else ()


def _judges(config: Config, output: Path) -> Panel:
    from toolrm_jax.evals.scoring import Clock

    clock, folder = Clock(), output / SCORES
    scalar: list[Judge] = []
    again = None
    if config.server is not None:
        scalar.append(_served(config, output))
    elif config.model is not None:
        opened = open_reward_model(config.model)
        made = reward_judge(opened.model, opened.chat, config.compute_dtype, clock=clock)
        judge = Judge(made.name, made.score, "the trained model")
        scalar.append(remembered(judge, folder, identity_of(opened, config.compute_dtype)))
        again = functools.partial(_again, opened, config) if config.agreement else None
    diagnosed = bool(scalar) or not config.chat_url
    if scalar and config.hand_weight:
        scalar.append(with_hand_rule(scalar[0], config.hand_weight))
    if config.baselines:
        scalar += [*without_model(config.seed), HAND_RULE]
    if config.backbone:
        where = backbone(config.backbone, output / "backbone")
        total, mean = likelihoods(open_folder(where)[0], config.compute_dtype, folder)
        scalar += [total, per_call(total), mean, with_hand_rule(mean, config.hand_weight)]
    pairwise = [_chat_judge(config, output)] if config.chat_url else []
    if not scalar and not pairwise:
        raise ConfigError("eval: nobody judges; give model=, server=, chat_url=, or baselines=true")
    return Panel(scalar, pairwise, diagnosed, again, clock)


def _served(config: Config, output: Path) -> Judge:
    from toolrm_jax.converters.served_scores import URLS, served_model, served_scores
    from toolrm_jax.data.chat import Chat
    from toolrm_jax.evals.served import probes, served_judge

    if config.model is None:
        raise ConfigError(f"server={config.server}: give model= as well, the folder whose tokenizer the server uses")
    chat, url = Chat.load(config.model), config.url or URLS[config.server]
    send = functools.partial(served_scores, config.server, url)
    told = functools.partial(served_model, config.server, url)
    asked = (url, config.server, config.model, chat.fingerprint)
    same_server(output, asked, told, lambda: send(probes(chat)))
    found = served_judge(f"{config.server} server", send, chat, f"a scalar model served at {url}")
    # Small pieces: what a server that dies has given is kept, and its next start goes on from there.
    return remembered(found, output / SCORES, " ".join(asked), piece=16)


def _chat_judge(config: Config, output: Path) -> PairJudge:
    from toolrm_jax.evals.chat_judge import chat_judge, served_model

    if config.chat_model is None:
        raise ConfigError("chat_url: give chat_model= as well, the name of the model there")
    url, model = config.chat_url, config.chat_model
    same_server(output, (url, model), lambda: served_model(url, model), list)
    return chat_judge(url, model, output / "choices.jsonl", first_match=config.chat_first_match)


def _again(opened: Opened, config: Config, groups: Sequence[Group]) -> tuple[Measure, ...]:
    """How far scores move in the other dtype, and with every group scored alone."""
    some = list(groups[: config.agreement])
    usual = reward_judge(opened.model, opened.chat, config.compute_dtype).score(some)
    other = "bfloat16" if config.compute_dtype == "float32" else "float32"
    in_other = reward_judge(opened.model, opened.chat, other).score(some)
    alone = [reward_judge(opened.model, opened.chat, config.compute_dtype).score([one])[0] for one in some]
    return (
        *diagnosis.agreement(usual, in_other, f"{config.compute_dtype} and {other}"),
        *diagnosis.agreement(usual, alone, "packed together and one at a time"),
    )


def _title(config: Config) -> str:
    return config.chat_model or config.model or NO_MODEL


def _print(judged: Judged) -> None:
    """The overall numbers of every judge."""
    width = max(len(result.judge) for result in judged.results)
    for result in judged.results:
        overall = [one for one in result.measures if one.part == result.measures[0].part][:5]
        cells = "   ".join(f"{one.name} {one.shown}" for one in overall)
        print(f"  {result.judge:<{width}}  {cells}")
    if judged.seconds:
        print("  seconds: " + ", ".join(f"{part} {spent:.1f}" for part, spent in judged.seconds.items()))
