"""Fine-tune a backbone into a reward model on prepared groups, or with task=sft into a policy.

Checkpoints, metrics.jsonl and TensorBoard files go to `output`. Stopped by Ctrl-C or SIGTERM it saves its state and
exits with code 75; the same command goes on from there.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from toolrm_jax.commands import settings
from toolrm_jax.commands.backbone import backbone
from toolrm_jax.errors import ConfigError
from toolrm_jax.files import CARD, is_complete, is_done, refuse_foreign, write_file
from toolrm_jax.train.config import MAY_CHANGE
from toolrm_jax.train.config import TrainConfig as Config
from toolrm_jax.train.signals import STOPPED

if TYPE_CHECKING:
    from toolrm_jax.data.chat import Chat
    from toolrm_jax.data.tokens import TokenGroup
    from toolrm_jax.train.startup import Startup

BASE = None
MODEL = "model"
"""Folder in a run's with the backbone's config and tokenizer: with a checkpoint they are the whole model."""


def run(config: Config, overwrite: bool = False) -> int:
    """Train; 75 if stopped by a signal before the end."""
    if not train(config, overwrite):
        return STOPPED
    print(f"trained model: {config.output}")
    return 0


def train(config: Config, overwrite: bool = False) -> bool:
    """Run the training to its end, unless that was reached before. False: a signal asked to stop."""
    from toolrm_jax.preferences.card import card_hash, read_card

    output = Path(config.output)
    made_from = settings.as_json(config, *MAY_CHANGE)
    inputs = {name: card_hash(read_card(getattr(config.data, name))) for name in ("train", "held_out")}
    if is_complete(output):
        if is_done(output, made_from, inputs, overwrite):
            return True
        shutil.rmtree(output)
    elif (output / settings.CONFIG_FILE).is_file():
        _check_same(config, output, overwrite)
    else:
        refuse_foreign(output, overwrite)
    return _train(config, output, {"config": made_from, "inputs": inputs})


def _check_same(config: Config, output: Path, overwrite: bool) -> None:
    """A run that has begun goes on only with its own settings; with `overwrite` it begins anew."""
    found = settings.saved_difference(config, output, *MAY_CHANGE)
    if found is None:
        return
    if not overwrite:
        where, there, asked = found
        raise ConfigError(
            f"{output}: was begun with {where}={there}, now {asked}; say overwrite=true or name another folder"
        )
    shutil.rmtree(output)


def _train(config: Config, output: Path, card: dict[str, object]) -> bool:
    from toolrm_jax.parallel import hosts
    from toolrm_jax.train.startup import Startup

    startup = Startup()
    if joined := hosts.start():
        print(joined)
    with hosts.failing_for_all():
        if not _train_joined(config, output, startup):
            return False
        if hosts.is_first():
            write_file(output / CARD, json.dumps(card, indent=1) + "\n")
    return True


def _train_joined(config: Config, output: Path, startup: Startup) -> bool:
    """One process's part of the training."""
    from toolrm_jax.data.chat import Chat
    from toolrm_jax.models.folder import load_model
    from toolrm_jax.models.lora import with_adapters
    from toolrm_jax.parallel import hosts
    from toolrm_jax.parallel.mesh import use_all_cores
    from toolrm_jax.parallel.shardings import weight_shardings
    from toolrm_jax.train.compiled import keep_compiled
    from toolrm_jax.train.config import run_mesh
    from toolrm_jax.train.loop import train as train_loop

    use_all_cores()
    mesh = run_mesh(config)
    folder = hosts.first_then_all(lambda: backbone(config.model.path, output.with_name(f"{output.name}.backbone")))
    chat = Chat.load(folder)
    _check_tokenizer(chat, output)
    with startup.part("tokenising"):
        tokens = hosts.first_then_all(lambda: _write_inputs(config, output, folder, chat))
    if config.compile_cache:
        keep_compiled(output / "compiled")
    frozen = config.model.frozen_layers
    with startup.part("reading weights"):
        model, _ = load_model(
            folder,
            layers=config.model.layers,
            frozen_layers=frozen,
            shardings=lambda shape: weight_shardings(shape, frozen, mesh),
        )
        model = with_adapters(model, config.model.lora, config.seed)
    return train_loop(config, model, tokens["train"], tokens["held_out"], startup)


def _check_tokenizer(chat: Chat, output: Path) -> None:
    """A run that has begun goes on with its own tokenizer: the weights it has learned stand for its tokens."""
    from toolrm_jax.data.chat import Chat

    if (output / "checkpoints").is_dir() and (there := Chat.load(output / MODEL)).fingerprint != chat.fingerprint:
        raise ConfigError(
            f"{output}: was begun with another tokenizer or chat template ({there.vocab_size} tokens, now "
            f"{chat.vocab_size}); give the same model.path, or another output folder"
        )


def _write_inputs(config: Config, output: Path, folder: Path, chat: Chat) -> dict[str, list[TokenGroup]]:
    """Write what a run needs beside its checkpoints, and give the token groups of both sides.

    The first process writes, before the others come here: they only read, since two of them would replace one file.
    """
    from toolrm_jax.data.store import left_out, tokenise
    from toolrm_jax.models.config import read_config
    from toolrm_jax.models.folder import shortened
    from toolrm_jax.parallel import hosts

    if hosts.is_first():
        settings.save(config, output)
        chat.save(output / MODEL)
        kept = shortened(read_config(folder), config.model.layers, str(folder))
        write_file(output / MODEL / "config.json", json.dumps(kept, indent=2) + "\n")
    sides = {name: Path(getattr(config.data, name)) for name in ("train", "held_out")}
    answers = "all" if config.task == "reward" else "reference"
    found = {name: tokenise(groups, chat, output / "tokens" / name, answers) for name, groups in sides.items()}
    for name in found:
        for reason, count in left_out(output / "tokens" / name).items():
            print(f"{name}: left out: {reason}: {count}")
    return found
