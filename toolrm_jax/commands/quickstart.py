"""From public tasks to an exported reward model and a report, in one folder.

Stages: backbone, groups, run (training), evaluation, model (exported), report.html. Interrupted with Ctrl-C and
started again with the same words it goes on where it was; a finished stage is not done again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import chz

from toolrm_jax.commands import backbone as backbones
from toolrm_jax.commands import settings
from toolrm_jax.commands.card_results import evaluation_limits, evaluation_metrics
from toolrm_jax.commands.eval import (
    ONLY_MADE,
    Judged,
    evaluate,
    find_pairs,
    mistakes_of,
    percent,
    print_table,
    reward_facts,
)
from toolrm_jax.commands.eval import Config as EvalConfig
from toolrm_jax.commands.export import Measured, export, exported_from
from toolrm_jax.commands.prepare import Config as PrepareConfig
from toolrm_jax.commands.prepare import prepare, summary
from toolrm_jax.commands.train import MODEL, train
from toolrm_jax.commands.train import Config as TrainConfig
from toolrm_jax.commands.trained import open_run
from toolrm_jax.errors import ConfigError
from toolrm_jax.evals import fc_rewardbench
from toolrm_jax.evals.judges import REWARD_MODEL
from toolrm_jax.evals.metrics import accuracy
from toolrm_jax.evals.report import Command, Curve, RunReport, write_report
from toolrm_jax.files import is_done, refuse_foreign, write_file
from toolrm_jax.preferences.card import Card, read_card
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.toolcalls.render import openai_message, openai_tool
from toolrm_jax.train.config import MAY_CHANGE
from toolrm_jax.train.metrics import read_metrics
from toolrm_jax.train.signals import STOPPED

BASE = "quickstart"
OWN = ("prepare.output", "train.output", "train.model.path", "train.data.train", "train.data.held_out")
"""Settings that this command makes from `output`; in its configs they are empty."""

FREE = ("output", "pairs", "judged_groups", "judged_pairs", "export_dtype", *(f"train.{name}" for name in MAY_CHANGE))
"""Settings that may change between two starts in one folder: nothing that was trained depends on them."""


@chz.chz
class Config:
    """One run through all stages. The paths in `prepare` and `train` stay empty: they follow from `output`."""

    output: str  # the folder of everything
    model: str  # the backbone: smollm2-135m, a hub id, a folder or a GGUF file
    prepare: PrepareConfig
    train: TrainConfig
    pairs: str | None = None  # real right and wrong answers to judge: a .jsonl, or FC-RewardBench
    judged_groups: int | None = 400  # held-out groups that are judged at the end; None: all
    judged_pairs: int | None = None  # likewise for pairs; only those of questions nobody trained on
    export_dtype: str = "float32"  # of the exported weights


def run(config: Config, overwrite: bool = False) -> int:
    """All stages; 75 if training was stopped by a signal."""
    values = settings.leaves(config)
    if set_by_hand := [name for name in OWN if values[name]]:
        raise ConfigError(f"{set_by_hand[0]}: the quickstart sets it itself; say output= and model= instead")
    output = Path(config.output)
    _refuse_other(config, output, overwrite)
    if config.pairs:
        fc_rewardbench.read(find_pairs(config.pairs))  # what cannot be read is told before the training, not after
    settings.save(config, output)
    with _stage("backbone"):
        folder = backbones.backbone(config.model, output / "backbone")
    groups = output / "groups"
    with _stage("groups of right and wrong answers"):
        prepare(chz.replace(config.prepare, output=str(groups)), overwrite)
        for side in ("train", "held_out"):
            print(f"  {side}: {summary(read_card(groups / side))}")
    trained = chz.replace(
        config.train,
        output=str(output / "run"),
        model=chz.replace(config.train.model, path=str(folder)),
        data=chz.replace(config.train.data, train=str(groups / "train"), held_out=str(groups / "held_out")),
    )
    with _stage("training"):
        finished = train(trained, overwrite)
    if not finished:
        return STOPPED
    # The training knows the backbone as a folder of ours, or of the hub's cache.
    backbones.keep_origin(config.model, folder, output / "run" / MODEL)
    with _stage("evaluation"):
        judged = evaluate(_eval_config(config, output, folder), output / "eval")
    with _stage("export"):
        _export(config, output, judged)
    example = _write_example(output, groups / "held_out")
    commands = _next_commands(config, output, example)
    report = write_report(output / "report.html", _report(config, output, judged, commands))
    _print_end(judged, report, output / "model", commands)
    return 0


def _refuse_other(config: Config, output: Path, overwrite: bool) -> None:
    """A folder of another quickstart or of anything else is not written into, unless the user says so."""
    if not (output / settings.CONFIG_FILE).is_file():
        refuse_foreign(output, overwrite)
    elif not overwrite and (found := settings.saved_difference(config, output, *FREE)):
        where, there, asked = found
        raise ConfigError(
            f"{output}: was begun with {where}={there}, now {asked}; say overwrite=true or name another folder"
        )


@contextmanager
def _stage(name: str) -> Iterator[None]:
    print(f"== {name}", flush=True)
    start = time.monotonic()
    yield
    print(f"   {time.monotonic() - start:.0f} s", flush=True)


def _eval_config(config: Config, output: Path, backbone: Path) -> EvalConfig:
    return EvalConfig(
        model=str(output / "run"),
        output=str(output / "eval"),
        held_out=str(output / "groups" / "held_out"),
        pairs=config.pairs,
        live=not any(category.startswith("live") for category in config.prepare.train.categories),
        backbone=str(backbone),
        max_groups=config.judged_groups,
        max_pairs=config.judged_pairs,
        compute_dtype=config.train.model.compute_dtype,
        seed=config.train.seed,
    )


def _export(config: Config, output: Path, judged: Sequence[Judged]) -> None:
    """The exported folder, unless it is there from this training, data and evaluation."""
    folder, run_folder = output / "model", output / "run"
    evaluations = [each.evaluation for each in judged]
    metrics = evaluation_metrics(evaluations)
    made_from = exported_from(run_folder, {"task": "reward", "dtype": config.export_dtype}, metrics)
    if is_done(folder, **made_from, overwrite=True):
        return
    measured = Measured(*reward_facts(judged), metrics, evaluation_limits(evaluations))
    opened, step = open_run(run_folder)
    export(run_folder, opened, step, measured, folder, config.export_dtype, overwrite=True, made_from=made_from)


def _any_real(judged: Sequence[Judged]) -> bool:
    return any(each.evaluation.real for each in judged)


def _write_example(output: Path, held_out: Path) -> Path:
    """The first held-out group as a line for `toolrm score`."""
    group = read_groups(held_out)[0]
    candidates = [
        {"tool_calls": [call.to_json() for call in candidate.calls], "content": candidate.text}
        if candidate.fault is None
        else {"content": candidate.raw}
        for candidate in group.candidates
    ]
    line = {
        "tools": [openai_tool(tool) for tool in group.task.context.tools],
        "messages": [openai_message(message) for message in group.task.context.messages],
        "candidates": candidates,
    }
    write_file(output / "example.jsonl", json.dumps(line) + "\n")
    return output / "example.jsonl"


def _next_commands(config: Config, output: Path, example: Path) -> tuple[Command, ...]:
    model, scores = output / "model", output / "scores.jsonl"
    pairs = "ibm-research/fc-reward-bench"
    return (
        Command("score answers of your own", f"toolrm score model={model} input={example} output={scores}"),
        Command(
            "judge it on published real mistakes",
            f"toolrm eval model={model} pairs={pairs} live=false output={output / 'fc-reward-bench'}",
        ),
        Command(
            "the same on a larger backbone, with an accelerator",
            "toolrm quickstart config=qwen2p5_coder_0p5b output=runs/qwen2p5_coder_0p5b",
        ),
    )


def _report(config: Config, output: Path, judged: Sequence[Judged], commands: tuple[Command, ...]) -> RunReport:
    card = read_card(output / "groups" / "train")
    records = read_metrics(output / "run")
    return RunReport(
        title="toolrm quickstart",
        backbone=backbones.title(config.model),
        what=_what(config, card, records),
        trained=REWARD_MODEL,
        evaluations=tuple(each.evaluation for each in judged),
        loss=_curve("loss", records, "train", "loss"),
        held_out=_curve("held-out accuracy", records, "held_out", "correct"),
        mistakes=mistakes_of(judged[0]),
        facts=tuple(_facts(card, records)),
        config=settings.as_json(config),
        commands=(Command("this run", " ".join(["toolrm quickstart", *_changed(config)])),),
        next_commands=commands,
    )


def _changed(config: Config) -> list[str]:
    """The settings as typed, where they are not the quickstart's own."""
    usual = settings.leaves(settings.load_config(BASE, Config))
    return [
        f"{name}={settings.shown(value)}" for name, value in settings.leaves(config).items() if value != usual[name]
    ]


def _what(config: Config, card: Card, records: Sequence[dict]) -> str:
    live = all(category.startswith("live") for category in config.prepare.train.categories)
    tasks = f"{config.prepare.source.upper()}{' live' if live else ''} tasks"
    seen = min(card.groups, sum(record["groups"] for record in records if record["kind"] == "train"))
    return f"{seen:,} {tasks}, each with right answers and mistakes made by rules"


def _curve(name: str, records: Sequence[dict], kind: str, value: str) -> Curve:
    points = [(record["step"], record[value]) for record in records if record["kind"] == kind]
    return Curve(name, tuple(step for step, _ in points), tuple(found for _, found in points))


def _facts(card: Card, records: Sequence[dict]) -> Iterator[tuple[str, str]]:
    steps = [record for record in records if record["kind"] == "train"]
    yield "training groups", summary(card)
    yield "training tokens", f"{sum(record['tokens'] for record in steps):,} in {len(steps)} steps"
    yield "licences of the data", ", ".join(f"{name} ({count})" for name, count in card.counts["licence"].items())


def _print_end(judged: Sequence[Judged], report: Path, model: Path, commands: Sequence[Command]) -> None:
    for each in judged:
        print_table(each.evaluation)
    print()
    for each in judged:
        found = accuracy(each.evaluation.result(REWARD_MODEL).outcomes)
        kind = "real wrong calls" if each.evaluation.real else "made mistakes"
        print(f"The right answer scores above {kind} in {percent(found)} % of pairs ({each.evaluation.name}).")
    if not _any_real(judged):
        print(ONLY_MADE)
    print(f"report: {report}\nmodel:  {model}\n\nTry next:")
    for command in commands:
        print(f"  {command.line}\n      {command.purpose}")
