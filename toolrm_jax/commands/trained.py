"""Opening a model to score with: an exported folder, or the newest checkpoint of a run."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrm_jax.commands import settings
from toolrm_jax.commands.train import INPUTS, MODEL, Config
from toolrm_jax.errors import ConfigError, ModelError
from toolrm_jax.files import CARD, file_hash, json_hash
from toolrm_jax.train.run_folder import CHECKPOINTS

if TYPE_CHECKING:
    import jax

    from toolrm_jax.data.chat import Chat
    from toolrm_jax.models.heads import RewardModel

SCORE = "score.weight"
LARGER = "open it on a larger device, or on the CPU with JAX_PLATFORMS=cpu"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A model with its tokenizer. `identity` (hex) changes when weights or tokenizer do."""

    model: RewardModel
    chat: Chat
    identity: str


def is_run(folder: Path) -> bool:
    """Whether `toolrm train` wrote this folder."""
    return (folder / CHECKPOINTS).is_dir() and (folder / settings.CONFIG_FILE).is_file()


def is_checkpoint(folder: Path) -> bool:
    """Whether this folder is one checkpoint of a run: `RUN/checkpoints/STEP`."""
    return folder.name.isdigit() and folder.parent.name == CHECKPOINTS and is_run(folder.parent.parent)


def open_reward_model(folder: str | Path) -> Opened:
    """The reward model of an exported folder or a run. Raises ModelError where there is none or it has no head."""
    folder = Path(folder)
    if is_run(folder):
        return open_run(_of_reward(folder))[0]
    if is_checkpoint(folder):
        return open_run(_of_reward(folder.parent.parent), int(folder.name))[0]
    if (folder / "run").is_dir() and is_run(folder / "run"):
        raise ModelError(f"{folder}: a quickstart's folder; give {folder / 'run'} or {folder / 'model'}")
    opened, missing = open_folder(folder)
    if SCORE in missing:
        raise ModelError(f"{folder}: has no {SCORE}, so it is no reward model; give an exported folder or a run's")
    return opened


def _of_reward(run: Path) -> Path:
    """The run's folder. Raises ModelError where it trains a policy, which has no scores."""
    if (task := run_config(run).task) != "reward":
        raise ModelError(f"{run}: a run of task={task}, so its model gives no scores; give a reward model's")
    return run


def open_folder(folder: Path) -> tuple[Opened, tuple[str, ...]]:
    """The model of a Hugging Face folder, and which optional tensors it lacks (a backbone's scalar head is zero)."""
    from toolrm_jax.data.chat import Chat
    from toolrm_jax.models.folder import load_model
    from toolrm_jax.parallel.mesh import use_all_cores
    from toolrm_jax.train.memory import must_fit

    use_all_cores()
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; give an exported folder, a run's, or a backbone's")
    with must_fit(f"{folder}: the model", LARGER):
        model, missing = load_model(folder)
    chat = Chat.load(folder)
    weights = {file.name: file_hash(file) for file in sorted(folder.glob("*.safetensors"))}
    return Opened(model, chat, json_hash([weights, chat.fingerprint])), missing


def run_config(folder: Path) -> Config:
    """The config that a run was started with."""
    file = folder / settings.CONFIG_FILE
    try:
        return settings.from_json(Config, json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{file}: not the config of a run ({error}); give the folder of `toolrm train`") from None


def open_run(folder: Path, step: int | None = None, merge: bool = True, on_host: bool = False) -> tuple[Opened, int]:
    """A run's checkpoint of `step`, or the newest that is not damaged, as a model; and its step. Raises ModelError.

    merge: adapters into the weights, where the run has some. on_host: the weights lie in the host's memory, where no
    accelerator has to hold them, to be written elsewhere; else on the first device.
    """
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from toolrm_jax.data.chat import Chat
    from toolrm_jax.models.config import TrunkConfig, read_config
    from toolrm_jax.models.lora import merged
    from toolrm_jax.parallel.mesh import use_all_cores
    from toolrm_jax.train.abstract import AbstractRun
    from toolrm_jax.train.checkpoints import Checkpoints
    from toolrm_jax.train.layout import TrainState
    from toolrm_jax.train.memory import must_fit

    use_all_cores()
    config = run_config(folder)
    # Shapes alone: the checkpoint holds every value.
    run = AbstractRun.of(config, TrunkConfig.from_huggingface(read_config(folder / MODEL), str(folder / MODEL)))
    state = TrainState(run.params, jax.eval_shape(run.optimizer.init, run.params), jax.ShapeDtypeStruct((), jnp.int32))
    here = jax.sharding.SingleDeviceSharding(_host() if on_host else jax.local_devices()[0])
    place = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)  # noqa: E731

    def read(number: int) -> tuple[nnx.State, nnx.State, int]:
        return *checkpoints.restore_judged(number, *jax.tree.map(place, (state, run.frozen))), number

    checkpoints = Checkpoints(folder / CHECKPOINTS, config.keep, to_read=True)
    with must_fit(f"{folder}: the model", LARGER):
        try:
            found = read(step) if step is not None else checkpoints.newest(read, _warn)
        finally:
            checkpoints.close()
        if found is None:
            raise ModelError(f"{folder}: has no checkpoint yet; train further with the same command")
        params, frozen, step = found
        model = nnx.merge(run.graph, params, frozen)
        model = merged(model) if merge else model
    chat = Chat.load(folder / MODEL)
    # Both name the data: the same step of a run that was begun anew with other data is another model.
    named = next((file_hash(folder / name) for name in (CARD, INPUTS) if (folder / name).is_file()), "")
    return Opened(model, chat, json_hash([settings.as_json(config), named, step, chat.fingerprint])), step


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def _host() -> jax.Device:
    """The device whose memory is the host's, where JAX has it beside the accelerators; else the first one."""
    import jax

    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS names accelerators alone
        return jax.local_devices()[0]


def backbone_config(folder: Path) -> dict[str, Any]:
    """The Hugging Face config of a run's backbone."""
    from toolrm_jax.models.config import read_config

    return read_config(folder / MODEL)
