"""Write the newest checkpoint of a run as a Hugging Face folder.

transformers loads a reward model with AutoModelForSequenceClassification, and other engines likewise; `toolrm score`
reads it, `toolrm verify` compares its scores with theirs. A run of task=sft, or task=policy, gives the language model
instead. Adapters are merged into the weights or, with merge=false, written alone for PEFT.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import chz

from toolrm_jax.commands import backbone as backbones
from toolrm_jax.commands import settings
from toolrm_jax.commands.eval import mean_and_deviation
from toolrm_jax.commands.train import Config as TrainConfig
from toolrm_jax.commands.trained import Opened, backbone_config, is_run, open_run, run_config
from toolrm_jax.converters.expected import Task
from toolrm_jax.converters.huggingface import MAX_SHARD_SIZE, export_folder, model_tensors
from toolrm_jax.converters.lora import export_peft, model_loras
from toolrm_jax.converters.model_card import CardFacts, Metric, model_card
from toolrm_jax.converters.safetensors_file import check_dtype, parse_size
from toolrm_jax.errors import ModelError
from toolrm_jax.files import json_hash, refuse_foreign
from toolrm_jax.preferences.card import Card, card_hash, read_card

BASE = None


@chz.chz
class Config:
    """What is exported."""

    checkpoint: str  # the folder of a run
    output: str  # the folder to write
    task: Literal["reward", "policy"] | None = None  # policy: a causal LM, without the scalar head; None: as trained
    dtype: str = "bfloat16"  # of the weights in the files; float32 keeps every bit
    merge: bool = True  # adapters into the weights; false: a folder of them alone, to be loaded beside the backbone
    max_shard_size: str = "5GB"  # of a file; a larger tensor has one to itself
    held_out_groups: int = 128  # over how many held-out groups the reward's mean and spread are measured


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What evaluation found: mean and standard deviation of the reward, and results for the model card."""

    mean: float
    std: float
    metrics: tuple[Metric, ...] = ()
    limits: tuple[str, ...] = ()


def run(config: Config, overwrite: bool = False) -> int:
    """Export, and say where the folder is."""
    folder = Path(config.checkpoint)
    if not is_run(folder):
        raise ModelError(f"{folder}: no run here; give the folder of `toolrm train`")
    check_dtype(config.dtype)
    max_shard_size = parse_size(config.max_shard_size)
    refuse_foreign(Path(config.output), overwrite)
    policy = run_config(folder).task == "sft"
    task = config.task or ("policy" if policy else "reward")
    if policy and task == "reward":
        raise ModelError(f"{folder}: a run of task=sft has no scalar head; export task=policy")
    opened, step = open_run(folder, merge=config.merge)
    if not config.merge:
        return _export_adapters(config, opened, step, task, overwrite)
    measured = _measure(opened, folder, config.held_out_groups) if task == "reward" else None
    export(
        folder,
        opened,
        step,
        measured,
        Path(config.output),
        config.dtype,
        overwrite=overwrite,
        task=task,
        max_shard_size=max_shard_size,
    )
    print(f"exported {task}: {config.output} (step {step}, {config.dtype})")
    return 0


def _export_adapters(config: Config, opened: Opened, step: int, task: Task, overwrite: bool) -> int:
    """Write the adapters alone. Raises ModelError where the backbone beside which they stand is not whole."""
    trained = run_config(Path(config.checkpoint))
    if trained.model.layers is not None:
        raise ModelError(
            f"merge=false: the run keeps {trained.model.layers} layers of its backbone; merge the adapters"
        )
    facts = _facts(trained, task, "", step, None)
    export_peft(
        config.output,
        base=trained.model.path,
        tensors=model_tensors(opened.model, task),
        loras=model_loras(opened.model),
        chat=opened.chat,
        card=model_card(facts, opened.chat.end_of_turn, task),
        task=task,
        dtype=config.dtype,
        overwrite=overwrite,
    )
    print(f"exported adapters of a {task}: {config.output} (step {step}, {config.dtype})")
    return 0


def export(
    folder: Path,
    opened: Opened,
    step: int,
    measured: Measured | None,
    output: Path,
    dtype: str,
    model_name: str = "",
    overwrite: bool = False,
    *,
    task: Task = "reward",
    max_shard_size: int = MAX_SHARD_SIZE,
) -> None:
    """Write the exported folder. `model_name`: what the user called the backbone, where the run knows but a folder.

    measured: of a reward model; a policy has none.
    """
    trained = run_config(folder)
    data = read_card(trained.data.train)
    facts = _facts(trained, task, model_name, step, measured)
    origin = {"training_config_hash": json_hash(settings.as_json(trained)), "data_card_hash": card_hash(data)}
    reward = {"mean": measured.mean, "std": measured.std} if measured else {}
    export_folder(
        output,
        config=backbone_config(folder),
        tensors=model_tensors(opened.model, task),
        chat=opened.chat,
        facts=reward | origin,
        card=model_card(facts, opened.chat.end_of_turn, task),
        task=task,
        max_shard_size=max_shard_size,
        dtype=dtype,
        overwrite=overwrite,
    )


def _facts(trained: TrainConfig, task: Task, model_name: str, step: int, measured: Measured | None) -> CardFacts:
    data = read_card(trained.data.train)
    name = model_name or trained.model.path
    return CardFacts(
        name=f"{backbones.title(name)}-tool-{task}",
        backbone=backbones.title(name),
        backbone_licence=backbones.licence(name, Path(trained.model.path)),
        data=_about(data),
        data_licences=data.counts.get("licence", {}),
        training=_training(trained, step),
        metrics=measured.metrics if measured else (),
        limits=measured.limits if measured else (),
    )


def _measure(opened: Opened, folder: Path, groups: int) -> Measured:
    from toolrm_jax.data.store import read_tokens
    from toolrm_jax.evals.scoring import score

    held_out = read_tokens(folder / "tokens" / "held_out")[:groups]
    mean, deviation = mean_and_deviation([float(value) for row in score(opened.model, held_out) for value in row])
    return Measured(mean, deviation)


def _about(data: Card) -> str:
    counts = data.counts
    sources = ", ".join(counts.get("source", {}))
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.get("category", {}).items())
    makers = ", ".join(f"{count} {maker}" for maker, count in counts.get("maker", {}).items())
    return f"{data.groups} groups of answers to tasks of {sources} ({kinds}). Answers by maker: {makers}."


def _training(config: TrainConfig, step: int) -> dict[str, str]:
    return {
        "steps": str(step),
        "learning rate": f"{config.optimizer.learning_rate:g}",
        "rows of a step": f"{config.data.rows} of {config.data.row_length} tokens",
        "frozen layers": str(config.model.frozen_layers),
        **({"adapters": f"rank {lora.rank}, alpha {lora.alpha:g}"} if (lora := config.model.lora).rank else {}),
        "compute": config.model.compute_dtype,
        "seed": str(config.seed),
    }
