"""Write the newest checkpoint of a run as a Hugging Face folder.

transformers loads a reward model with AutoModelForSequenceClassification, and other engines likewise; `toolrm score`
reads it, `toolrm verify` compares its scores with theirs. A run of task=sft, or task=policy, gives the language model
instead. Adapters are merged into the weights or, with merge=false, written alone for PEFT.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import chz

from toolrm_jax.commands import backbone as backbones
from toolrm_jax.commands import settings
from toolrm_jax.commands.card_results import Results, saved_results
from toolrm_jax.commands.eval import mean_and_deviation
from toolrm_jax.commands.train import MODEL
from toolrm_jax.commands.train import Config as TrainConfig
from toolrm_jax.commands.trained import CHECKPOINTS, Opened, backbone_config, is_run, open_run, run_config
from toolrm_jax.converters.expected import Task
from toolrm_jax.converters.huggingface import export_folder, model_tensors
from toolrm_jax.converters.lora import export_peft, model_loras
from toolrm_jax.converters.model_card import CardFacts, Metric, model_card
from toolrm_jax.converters.safetensors_file import MAX_SHARD_SIZE, check_dtype, parse_size
from toolrm_jax.errors import ConfigError, ModelError
from toolrm_jax.files import is_done, json_hash
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
    eval: str | None = None  # the output folder of `toolrm eval`, whose results stand in the model card; None: none
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
    policy = run_config(folder).task == "sft"
    task = config.task or ("policy" if policy else "reward")
    if policy and task == "reward":
        raise ModelError(f"{folder}: a run of task=sft has no scalar head; export task=policy")
    if config.eval and task == "policy":
        raise ConfigError(f"eval={config.eval}: holds results of a reward model; leave it out of a policy's card")
    metrics, limits = saved_results(Path(config.eval), folder) if config.eval else ((), ())
    kept = {"task": task, "dtype": config.dtype, "merge": config.merge, "max_shard_size": max_shard_size}
    made_from = exported_from(folder, kept | {"held_out_groups": config.held_out_groups}, metrics)
    if is_done(Path(config.output), **made_from, overwrite=overwrite):
        print(f"exported {task}: {config.output} (as it is: made from step {made_from['inputs']['step']} before)")
        return 0
    # Only to measure a reward model's scores is an accelerator of use.
    opened, step = open_run(folder, merge=config.merge, on_host=task == "policy" or not config.merge)
    made_from["inputs"]["step"] = str(step)  # an older one where the newest is damaged
    if not config.merge:
        return _export_adapters(config, opened, step, task, (metrics, limits), made_from, overwrite)
    spread = _spread(opened, folder, config.held_out_groups) if task == "reward" else None
    export(
        folder,
        opened,
        step,
        Measured(*spread, metrics, limits) if spread else None,
        Path(config.output),
        config.dtype,
        overwrite=overwrite,
        task=task,
        max_shard_size=max_shard_size,
        made_from=made_from,
    )
    print(f"exported {task}: {config.output} (step {step}, {config.dtype})")
    return 0


def exported_from(folder: Path, kept: Mapping[str, Any], metrics: Sequence[Metric]) -> dict[str, dict[str, Any]]:
    """What tells whether an export is of the run's newest checkpoint, these settings and results; for its card.json."""
    trained = run_config(folder)
    steps = (folder / CHECKPOINTS).iterdir()
    inputs = {
        "training_config": json_hash(settings.as_json(trained)),
        "data_card": card_hash(read_card(trained.data.train)),
        "step": str(max((int(step.name) for step in steps if step.name.isdigit()), default=0)),
        "results": json_hash([dataclasses.asdict(one) for one in metrics]),
    }
    return {"config": dict(kept), "inputs": inputs}


def _export_adapters(
    config: Config,
    opened: Opened,
    step: int,
    task: Task,
    results: Results,
    made_from: Mapping[str, Any],
    overwrite: bool,
) -> int:
    """Write the adapters alone. Raises ModelError where the backbone beside which they stand is not whole."""
    trained = run_config(Path(config.checkpoint))
    if trained.model.layers is not None:
        raise ModelError(
            f"merge=false: the run keeps {trained.model.layers} layers of its backbone; merge the adapters"
        )
    origin = _origin(Path(config.checkpoint), trained)
    if origin.base != origin.hub_id and not Path(origin.base).is_dir():
        raise ModelError(
            f"merge=false: the backbone is no longer at {origin.base}, where PEFT would look for it; merge the adapters"
        )
    facts = _facts(trained, origin, task, step, results)
    export_peft(
        config.output,
        base=origin.base,
        tensors=model_tensors(opened.model, task),
        loras=model_loras(opened.model),
        chat=opened.chat,
        card=model_card(facts, opened.chat.end_of_turn, task, adapters_pad=opened.chat.pad_id),
        task=task,
        dtype=config.dtype,
        made_from=made_from,
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
    overwrite: bool = False,
    *,
    task: Task = "reward",
    max_shard_size: int = MAX_SHARD_SIZE,
    made_from: Mapping[str, Any] | None = None,
) -> None:
    """Write the exported folder. measured: of a reward model; a policy has none. made_from: as for `export_folder`."""
    trained = run_config(folder)
    data = read_card(trained.data.train)
    results = (measured.metrics, measured.limits) if measured else ((), ())
    facts = _facts(trained, _origin(folder, trained), task, step, results)
    hashes = {"training_config_hash": json_hash(settings.as_json(trained)), "data_card_hash": card_hash(data)}
    reward = {"mean": measured.mean, "std": measured.std} if measured else {}
    export_folder(
        output,
        config=backbone_config(folder),
        tensors=model_tensors(opened.model, task),
        chat=opened.chat,
        facts=reward | hashes,
        card=model_card(facts, opened.chat.end_of_turn, task),
        task=task,
        max_shard_size=max_shard_size,
        dtype=dtype,
        made_from=made_from,
        overwrite=overwrite,
    )


def _origin(folder: Path, trained: TrainConfig) -> backbones.Origin:
    """Of the run's backbone, as the run kept it; of an older run by its settings."""
    return backbones.kept_origin(folder / MODEL) or backbones.origin(trained.model.path, Path(trained.model.path))


def _facts(trained: TrainConfig, origin: backbones.Origin, task: Task, step: int, results: Results) -> CardFacts:
    data = read_card(trained.data.train)
    return CardFacts(
        name=f"{origin.title.rpartition('/')[2]}-tool-{task}",
        backbone=origin.title,
        base_model=origin.hub_id,
        backbone_licence=origin.licence,
        data=_about(data),
        data_licences=data.counts.get("licence", {}),
        training=_training(trained, step),
        metrics=results[0],
        limits=results[1],
    )


def _spread(opened: Opened, folder: Path, groups: int) -> tuple[float, float]:
    """Mean and standard deviation of the reward over so many held-out groups."""
    from toolrm_jax.data.store import read_tokens
    from toolrm_jax.evals.scoring import score

    held_out = read_tokens(folder / "tokens" / "held_out")[:groups]
    return mean_and_deviation([float(value) for row in score(opened.model, held_out) for value in row])


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
