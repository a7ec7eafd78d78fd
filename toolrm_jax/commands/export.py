"""Write the newest checkpoint of a run as a Hugging Face folder.

transformers loads it with AutoModelForSequenceClassification, and other engines likewise; `toolrm score` reads it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import chz

from toolrm_jax.commands import backbone as backbones
from toolrm_jax.commands import settings
from toolrm_jax.commands.eval import mean_and_deviation
from toolrm_jax.commands.train import Config as TrainConfig
from toolrm_jax.commands.trained import Opened, backbone_config, is_run, open_run, run_config
from toolrm_jax.converters.huggingface import export_folder
from toolrm_jax.converters.model_card import CardFacts, Metric, model_card
from toolrm_jax.errors import ModelError
from toolrm_jax.files import json_hash
from toolrm_jax.preferences.card import Card, card_hash, read_card

BASE = None


@chz.chz
class Config:
    """What is exported."""

    checkpoint: str  # the folder of a run
    output: str  # the folder to write
    dtype: str = "float32"  # of the weights in the files
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
    opened, step = open_run(folder)
    measured = _measure(opened, folder, config.held_out_groups)
    export(folder, opened, step, measured, Path(config.output), config.dtype, overwrite=overwrite)
    print(f"exported model: {config.output} (step {step})")
    return 0


def export(
    folder: Path,
    opened: Opened,
    step: int,
    measured: Measured,
    output: Path,
    dtype: str = "float32",
    model_name: str = "",
    overwrite: bool = False,
) -> None:
    """Write the exported folder. `model_name`: what the user called the backbone, where the run knows but a folder."""
    from toolrm_jax.models.folder import huggingface_tensors

    trained = run_config(folder)
    data = read_card(trained.data.train)
    name = model_name or trained.model.path
    facts = CardFacts(
        name=f"{backbones.title(name)}-tool-reward",
        backbone=backbones.title(name),
        backbone_licence=backbones.licence(name, Path(trained.model.path)),
        data=_about(data),
        data_licences=data.counts.get("licence", {}),
        training=_training(trained, step),
        metrics=measured.metrics,
        limits=measured.limits,
    )
    export_folder(
        output,
        config=backbone_config(folder),
        tensors=huggingface_tensors(opened.model),
        chat=opened.chat,
        reward={
            "mean": measured.mean,
            "std": measured.std,
            "training_config_hash": json_hash(settings.as_json(trained)),
            "data_card_hash": card_hash(data),
        },
        card=model_card(facts, opened.chat.end_of_turn),
        dtype=dtype,
        overwrite=overwrite,
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
        "compute": config.model.compute_dtype,
        "seed": str(config.seed),
    }
