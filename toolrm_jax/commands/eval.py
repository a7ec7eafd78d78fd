"""Judge a model on benchmarks, beside the baselines, and write a report.

`benchmark=NAME[:PATH],…` names benchmarks: fc-rewardbench, trbench, rewardbench, rewardbench2, best-of-n,
rotbench, perturbed, taskmaster, groups. The judge is `model`, or a server: `server=sglang` or `vllm` with `url=` serves
a scalar model (`model` then only gives the tokenizer), `chat_url=` and `chat_model=` a language model that is shown two
answers in both orders. Started again, the same command goes on where it was cut short.

Without `benchmark`, `held_out` and `pairs` are judged. `held_out` is a folder that `prepare` wrote: its wrong answers
are made by rules. `pairs` is a .jsonl of pairs, or FC-RewardBench as published (a folder, file, or the hub id
ibm-research/fc-reward-bench): real answers of real models. With `backbone`, the likelihood under that untrained model
is judged too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import chz

from toolrm_jax.commands import hub, settings
from toolrm_jax.commands.backbone import backbone
from toolrm_jax.commands.remembered import remembered
from toolrm_jax.commands.trained import Opened, open_folder, open_reward_model
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals import fc_rewardbench
from toolrm_jax.evals.baselines import Judge, without_model
from toolrm_jax.evals.benchmark import drawn
from toolrm_jax.evals.handrule import HAND_RULE
from toolrm_jax.evals.judges import MEAN, REWARD_MODEL, SUM, likelihood_judges, reward_judge, with_hand_rule
from toolrm_jax.evals.metrics import Accuracy, accuracy, outcomes, without_numbers
from toolrm_jax.evals.report import Command, Evaluation, JudgeResult, RunReport, confident_mistakes, write_report
from toolrm_jax.evals.scores import Scores, unread_note
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.toolcalls.types import Group

BASE = None
MADE = "made mistakes"
ONLY_MADE = "Only mistakes made by rules were judged; give pairs= for wrong calls that real models wrote."
ABOUT = {
    REWARD_MODEL: "the trained model",
    "random": "a coin",
    "shorter": "the shorter answer wins",
    "longer": "the longer answer wins",
    "schema-valid": "fewer violations of the tools' schemas",
    HAND_RULE.name: "schema check, and what arguments and conversation have in common; no model",
    SUM: "log p(answer | context) under the untrained backbone",
    MEAN: "the same per token",
    f"{REWARD_MODEL} + {HAND_RULE.name}": "both, z-scored and added",
    f"{MEAN} + {HAND_RULE.name}": "both, z-scored and added",
}


@chz.chz
class Config:
    """What is judged."""

    model: str | None = None  # an exported folder, or a run's; with `server`, only its tokenizer is used
    output: str = "runs/eval"  # the folder for the report and its numbers
    benchmark: tuple[str, ...] = ()  # NAME or NAME:PATH of each
    server: Literal["sglang", "vllm"] | None = None  # what serves the scalar model, if not this process
    url: str | None = None  # its address; None: the engine's usual one
    chat_url: str | None = None  # an OpenAI-compatible server's address, ending in /v1
    chat_model: str | None = None  # the language model there that compares answers
    chat_first_match: bool = False  # read its first <choice>, as the published code does, and not its last
    baselines: bool = True  # judge with rules that need no model too
    hand_weight: float = 1.0  # of the hand rule, added to the first judge as one more judge
    agreement: int = 0  # so many groups are scored again in bfloat16 and one at a time, to compare
    held_out: str | None = None  # a folder of groups
    pairs: str | None = None  # a .jsonl of pairs, or FC-RewardBench
    live: bool = True  # judge the pairs of live questions too, apart; leave out if they were trained on
    backbone: str | None = None  # untrained model whose likelihood is judged: name, GGUF, folder or hub id
    max_groups: int | None = 400  # a seeded sample of so many held-out groups; None: all
    max_pairs: int | None = None  # likewise for pairs, and for the groups of each benchmark
    compute_dtype: Literal["float32", "bfloat16"] = "float32"  # bfloat16 is faster on accelerators and less exact
    seed: int = 0  # of the samples and of the random judge


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """One benchmark with every judge's outcomes, and the trained model's scores of its groups."""

    evaluation: Evaluation
    groups: tuple[Group, ...]
    scores: Scores


def run(config: Config, overwrite: bool = False) -> int:
    """Judge, print the table, and write the report."""
    if config.benchmark:
        from toolrm_jax.commands.eval_benchmark import run_benchmarks

        return run_benchmarks(config)
    judged = evaluate(config)
    settings.save(config, Path(config.output))
    report = RunReport(
        title=f"{config.model}: evaluation",
        backbone=config.backbone or config.model,
        what="the data that its model card names",
        trained=REWARD_MODEL,
        evaluations=tuple(each.evaluation for each in judged),
        mistakes=mistakes_of(judged[0]),
        config=settings.as_json(config),
        commands=(Command("this evaluation", command_line(config)),),
    )
    path = write_report(Path(config.output) / "report.html", report)
    for each in judged:
        print_table(each.evaluation)
    if not any(each.evaluation.real for each in judged):
        print(ONLY_MADE)
    print(f"report: {path}")
    return 0


def evaluate(config: Config, folder: Path | None = None) -> list[Judged]:
    """Every benchmark under every judge, those of real answers first. `folder` keeps scores for a second run."""
    benchmarks = list(_benchmarks(config))
    if not benchmarks:
        raise ConfigError("eval: nothing to judge; give benchmark=, held_out= a folder of groups or pairs= a file")
    if config.model is None:
        raise ConfigError("eval: model is not given; name an exported folder or a run's")
    folder = folder or Path(config.output) / "scores"
    trained = _trained(open_reward_model(config.model), config, folder)
    judges = [trained, *without_model(config.seed), HAND_RULE]
    if config.hand_weight:
        judges.insert(1, with_hand_rule(trained, config.hand_weight))
    if config.backbone:
        where = backbone(config.backbone, Path(config.output) / "backbone")
        total, mean = likelihoods(open_folder(where)[0], config.compute_dtype, folder)
        judges += [total, mean, with_hand_rule(mean, config.hand_weight)]
    return [_judge(name, groups, real, note, judges) for name, groups, real, note in benchmarks]


def print_table(evaluation: Evaluation) -> None:
    """Every judge's accuracy with its interval, with and without the wrong-number pairs."""
    pairs = len(evaluation.results[0].outcomes)
    print(f"\n{evaluation.name}: {pairs:,} pairs, accuracy in % with 95 % intervals")
    width = max(len(result.judge) for result in evaluation.results)
    print(f"  {'':<{width}}  {'all pairs':<22}  without wrong-number pairs")
    for result in evaluation.results:
        cells = [percent(accuracy(result.outcomes)), percent(accuracy(without_numbers(result.outcomes)))]
        print(f"  {result.judge:<{width}}  {cells[0]:<22}  {cells[1]}")


def percent(found: Accuracy | None) -> str:
    """An accuracy as `81.2 (78.9 to 83.3)`."""
    return "—" if found is None else f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def mistakes_of(judged: Judged) -> tuple:
    """The trained model's ten most confident errors."""
    return confident_mistakes(judged.evaluation.name, judged.groups, judged.scores)


def reward_facts(judged: Sequence[Judged]) -> tuple[float, float]:
    """Mean and standard deviation of the reward over the answers of the made mistakes, else of all that was judged.

    Raises DataError where none of them could be read.
    """
    made = [each for each in judged if not each.evaluation.real] or judged
    read = [score for each in made for row in each.scores for score in row if score is not None]
    if not read:
        raise DataError("the model could read none of the answers it was to judge; give held_out= shorter ones")
    return mean_and_deviation(read)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Of a whole population."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def find_pairs(pairs: str) -> Path:
    """The file or folder of a benchmark; a hub id is downloaded."""
    path = Path(pairs).expanduser()
    if path.exists():
        return path
    if not hub.is_id(pairs) or path.suffix in (".jsonl", ".arrow", ".parquet"):
        raise DataError(f"pairs={pairs}: no such file; give a .jsonl of pairs, or FC-RewardBench's folder or hub id")
    return hub.download(pairs, "dataset", ("*.arrow", "*.parquet", "*.json"), DataError)


def _benchmarks(config: Config) -> Iterator[tuple[str, tuple[Group, ...], bool, str]]:
    """(name, groups, whether the wrong answers are real, note) of each; real ones first."""
    if config.pairs:
        benchmark = fc_rewardbench.read(find_pairs(config.pairs))
        parts = [benchmark.non_live(), *([benchmark.live()] if config.live else [])]
        if not any(part.groups for part in parts):
            raise DataError(f"pairs={config.pairs}: holds only live questions; say live=true to judge them")
        for part in parts:
            if part.groups:
                yield part.name, drawn(part.groups, config.max_pairs, config.seed), True, part.note
    if config.held_out:
        groups = read_groups(config.held_out)
        note = "Wrong answers made by rules for held-out tasks: near to right ones, but not what models get wrong."
        yield MADE, drawn(list(groups), config.max_groups, config.seed), False, note


def _trained(opened: Opened, config: Config, folder: Path) -> Judge:
    judge = reward_judge(opened.model, opened.chat, config.compute_dtype)
    return remembered(judge, folder, identity_of(opened, config.compute_dtype))


def likelihoods(opened: Opened, compute_dtype: str, folder: Path) -> tuple[Judge, Judge]:
    """Sum and mean of the log-likelihood, kept on disk."""
    both = likelihood_judges(opened.model, opened.chat, compute_dtype)
    total, mean = (remembered(judge, folder, identity_of(opened, compute_dtype)) for judge in both)
    return total, mean


def identity_of(opened: Opened, compute_dtype: str) -> str:
    """What a model's scores depend on beside the groups."""
    return f"{opened.identity} {compute_dtype}"


def _judge(name: str, groups: tuple[Group, ...], real: bool, note: str, judges: Sequence[Judge]) -> Judged:
    print(f"judging {len(groups):,} groups: {name}", flush=True)
    scores = {judge.name: judge(groups) for judge in judges}
    results = tuple(JudgeResult(judge, outcomes(groups, rows), ABOUT.get(judge, "")) for judge, rows in scores.items())
    if unread := unread_note(scores[REWARD_MODEL]):
        note = f"{note} {unread}."
    return Judged(Evaluation(name, real, results, note), groups, scores[REWARD_MODEL])


def command_line(config: Config) -> str:
    """The command as typed, less what is at its default."""
    values = settings.leaves(config)
    defaults = {setting.name: setting.default for setting in settings.settings_of(Config)}
    words = [f"{name}={settings.shown(value)}" for name, value in values.items() if value != defaults.get(name)]
    return " ".join(["toolrm eval", *words])
