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
from toolrm_jax.commands.backbone import backbone, keep_origin
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import CARD, first_difference, is_complete, refuse_foreign, write_file
from toolrm_jax.train.config import MAY_CHANGE
from toolrm_jax.train.config import TrainConfig as Config
from toolrm_jax.train.run_folder import saved_steps
from toolrm_jax.train.signals import STOPPED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from toolrm_jax.data.chat import Chat
    from toolrm_jax.data.tokens import TokenGroup
    from toolrm_jax.train.startup import Startup

BASE = None
SIDES = ("train", "held_out")
INPUTS = "inputs.json"
"""File in a run's folder with the hash of each side's card, so that it goes on with the data it was begun with."""
LARGER_MESH = "divide it over more devices (mesh.fsdp, mesh.tensor), or take a smaller one"
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
    inputs = {side: card_hash(read_card(getattr(config.data, side))) for side in SIDES}
    # What has saved nothing has not begun: it may be started with anything.
    begun = is_complete(output) or bool(saved_steps(output))
    changed = _changed(config, output, inputs) if begun else None
    if changed and not overwrite:
        where, there, asked = changed
        raise ConfigError(
            f"{output}: was begun with {where}={there}, now {asked}; say overwrite=true or name another folder"
        )
    if is_complete(output) and not changed:
        return True
    if not begun and not (output / settings.CONFIG_FILE).is_file():
        refuse_foreign(output, overwrite)
    return _train(config, inputs, overwrite=overwrite, remove=changed is not None)


def _changed(config: Config, output: Path, inputs: dict[str, str]) -> tuple[str, str, str] | None:
    """The first setting, or side of the data, that is not what a run was begun with (name, there, now)."""
    if found := settings.saved_difference(config, output, *MAY_CHANGE):
        return found
    if (there := _inputs_of(output)) is None or not (found := first_difference(there, inputs)):
        return None
    side, old, new = found
    return f"data.{side} prepared otherwise (hash of its card)", old, new


def _inputs_of(output: Path) -> dict[str, str] | None:
    """The hash of each side's card as a run was begun with. An older run has it of its tokens; None without these."""
    try:
        if (output / INPUTS).is_file():
            return json.loads((output / INPUTS).read_bytes())
        tokens = [output / "tokens" / side / CARD for side in SIDES]
        if not all(card.is_file() for card in tokens):
            return None
        return {side: json.loads(card.read_bytes())["inputs"]["groups"] for side, card in zip(SIDES, tokens)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{output}: what it was begun with cannot be read ({error}); name another folder") from None


def _remove(output: Path) -> None:
    """Remove a run's folder, at once for whoever looks. One process does it, when all have seen what was there."""
    from toolrm_jax.parallel import hosts

    if hosts.is_first():
        retired = output.with_name(f".{output.name}.retired")
        shutil.rmtree(retired, ignore_errors=True)
        output.rename(retired)
        shutil.rmtree(retired)


def _train(config: Config, inputs: dict[str, str], overwrite: bool, remove: bool) -> bool:
    from toolrm_jax.parallel import hosts
    from toolrm_jax.train.startup import Startup

    startup, output = Startup(), Path(config.output)
    if joined := hosts.start():
        print(joined)
    with hosts.failing_for_all():
        if remove:
            hosts.first_then_all(lambda: _remove(output))
        if not _train_joined(config, inputs, startup, overwrite):
            return False
        if hosts.is_first():
            card = {"config": settings.as_json(config, *MAY_CHANGE), "inputs": inputs}
            write_file(output / CARD, json.dumps(card, indent=1) + "\n")
    return True


def _train_joined(config: Config, inputs: dict[str, str], startup: Startup, overwrite: bool) -> bool:
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
    from toolrm_jax.train.memory import must_fit

    use_all_cores()
    output, mesh = Path(config.output), run_mesh(config)
    folder = hosts.first_then_all(lambda: backbone(config.model.path, output.with_name(f"{output.name}.backbone")))
    chat = Chat.load(folder)
    _check_tokenizer(chat, output)
    with startup.part("tokenising"):
        tokens = hosts.first_then_all(lambda: _write_inputs(config, inputs, folder, chat))
    if config.compile_cache:
        keep_compiled(output / "compiled")
    frozen = config.model.frozen_layers
    with startup.part("reading weights"), must_fit("the model", LARGER_MESH):
        model, missing = load_model(
            folder,
            layers=config.model.layers,
            frozen_layers=frozen,
            shardings=lambda shape: weight_shardings(shape, frozen, mesh),
        )
        model = with_adapters(model, config.model.lora, config.seed)
    if hosts.is_first() and not saved_steps(output):
        for head in missing:
            if _starts_at_zero(head, config):
                print(f"{head} is not in the backbone: it starts at zero")
    return train_loop(config, model, tokens["train"], tokens["held_out"], startup, overwrite)


def _starts_at_zero(head: str, config: Config) -> bool:
    """Whether a head that the backbone lacks is trained from nothing: it is of use here, and not fitted before."""
    from toolrm_jax.converters.expected import SCORE

    if head == SCORE:
        return config.task == "reward" and not config.head_fit.steps
    return bool(config.loss_weights.next_token or config.loss_weights.next_token_context)


def _check_tokenizer(chat: Chat, output: Path) -> None:
    """A run that has begun goes on with its own tokenizer: the weights it has learned stand for its tokens."""
    from toolrm_jax.data.chat import Chat

    if saved_steps(output) and (there := Chat.load(output / MODEL)).fingerprint != chat.fingerprint:
        raise ConfigError(
            f"{output}: was begun with another tokenizer or chat template ({there.vocab_size} tokens, now "
            f"{chat.vocab_size}); give the same model.path, or another output folder"
        )


def _write_inputs(config: Config, inputs: dict[str, str], folder: Path, chat: Chat) -> dict[str, Sequence[TokenGroup]]:
    """Write what a run needs beside its checkpoints, and give the token groups of both sides.

    The first process writes, before the others come here: they only read, since two of them would replace one file.
    """
    from toolrm_jax.data.store import left_out, tokenise
    from toolrm_jax.models.config import read_config
    from toolrm_jax.models.folder import shortened
    from toolrm_jax.parallel import hosts

    output = Path(config.output)
    if hosts.is_first():
        settings.save(config, output)
        write_file(output / INPUTS, json.dumps(inputs, indent=1) + "\n")
        chat.save(output / MODEL)
        keep_origin(config.model.path, folder, output / MODEL)
        kept = shortened(read_config(folder), config.model.layers, str(folder))
        write_file(output / MODEL / "config.json", json.dumps(kept, indent=2) + "\n")
    sides = {name: Path(getattr(config.data, name)) for name in SIDES}
    answers = "all" if config.task == "reward" else "reference"
    found = {name: tokenise(groups, chat, output / "tokens" / name, answers) for name, groups in sides.items()}
    for name in found:
        for reason, count in left_out(output / "tokens" / name).items():
            print(f"{name}: left out: {reason}: {count}")
    return found
