"""Checkpoints by Orbax: parameters, optimiser, step, data position, config and code version; whole or absent.

Orbax writes each under a temporary name and renames it once all processes are done, so a crash while saving leaves
the ones before. Beside the arrays stands a sum of their bits, taken on the devices: what is read back is held against
it, so a damaged file is seen even where it still parses, and so is a state that came back in part. An error that says
nothing of the files (no memory left, a folder that may not be read) is raised as what it is.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from flax import nnx
from orbax.checkpoint.checkpoint_managers import preservation_policy as preserve

import toolrm_jax
from toolrm_jax.errors import ConfigError, DataError, ModelError
from toolrm_jax.parallel import hosts
from toolrm_jax.train.best import Best
from toolrm_jax.train.damage import cause, first_line, is_damage, is_unreadable
from toolrm_jax.train.fingerprint import fingerprint
from toolrm_jax.train.layout import TrainState
from toolrm_jax.train.memory import is_out_of_memory
from toolrm_jax.train.optimizer import judged_weights

T = TypeVar("T")


class DamagedCheckpoint(ModelError):
    """A checkpoint whose files cannot be read, or do not hold what was saved."""


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Orbax warns that a folder it is asked to only read is only read."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


class Checkpoints:
    """The checkpoints of one run, in `folder`, saved in the background and named by their step.

    Kept are the newest `keep`, each of a step that `keep_every` divides, and the best by the held-out metric
    `keep_best`. `to_read` makes no folder and changes nothing.
    """

    def __init__(
        self,
        folder: Path,
        keep: int,
        keep_every: int | None = None,
        keep_best: str | None = None,
        to_read: bool = False,
    ) -> None:
        if keep < 1:
            raise ConfigError(f"keep={keep}: a run keeps at least its newest checkpoint; say keep=1 or more")
        best = Best(keep_best)
        policies: list[preserve.PreservationPolicy] = [preserve.LatestN(keep), best]
        if keep_every:
            policies.append(preserve.EveryNSteps(keep_every))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preserve.AnyPreservationPolicy(policies),
            save_interval_steps=0 if to_read else 1,
            create=not to_read,
            read_only=to_read,
            cleanup_tmp_directories=not to_read,
        )
        self.folder, self.best = folder, best
        self.saving: int | None = None
        try:
            with _no_warnings() if to_read else contextlib.nullcontext():
                self.manager = ocp.CheckpointManager(folder.absolute(), options=options)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be made ({error.strerror}); name another output folder") from error
        if keep_best and not to_read:
            for step in self.manager.all_steps():
                # One that cannot be read is never the best; whether it is damaged is seen where it is restored.
                with contextlib.suppress(Exception):
                    best.measured[step] = _read_json(folder / str(step), "about")["measured"]

    def save(
        self,
        state: TrainState,
        frozen: nnx.State,
        data: dict[str, Any],
        config: dict[str, Any],
        measured: dict[str, float] | None = None,
    ) -> None:
        """Start saving; returns once the values are copied, before they are on disk.

        measured: what the held-out groups say of this state. Raises DataError where a save fails, this or the last.
        """
        arrays = _arrays(state, frozen)
        step = int(jax.device_get(state.step))
        about = {
            "config": config,
            "version": toolrm_jax.__version__,
            "arrays": _shapes(arrays),
            "fingerprint": fingerprint(arrays),
            "measured": measured or {},
        }
        items = ocp.args.Composite(
            arrays=ocp.args.StandardSave(arrays),
            data=ocp.args.JsonSave(data),
            about=ocp.args.JsonSave(about),
        )
        self.best.measured[step] = measured or {}
        self._writing(lambda: self.manager.save(step, args=items))
        self.saving = step

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint, None where there is none."""
        return self.manager.latest_step()

    def restore(self, step: int, state: TrainState, frozen: nnx.State) -> tuple[TrainState, nnx.State, dict[str, Any]]:
        """The checkpoint of `step`, with shapes and shardings of the given state, which may be abstract; and the data
        position.

        Raises ModelError where the shapes are not those of the given state, DamagedCheckpoint where what is read is
        not what was saved, DataError where it cannot be read now.
        """
        want = _arrays(state, frozen)
        arrays, data = self._checked(step, want, want)
        nnx.replace_by_pure_dict(state.params, arrays["params"])
        nnx.replace_by_pure_dict(frozen, arrays.get("frozen", {}))
        optimizer = jax.tree.unflatten(
            jax.tree.structure(state.optimizer), jax.tree.leaves(arrays.get("optimizer", {}))
        )
        return TrainState(state.params, optimizer, arrays["step"]), frozen, data

    def restore_judged(self, step: int, state: TrainState, frozen: nnx.State) -> tuple[nnx.State, nnx.State]:
        """Of the checkpoint of `step` what a model is judged and exported with (`judged_weights`), and what is frozen.

        Nothing else is read, so it takes a third of the memory of the state with Adam's moments. Raises as `restore`.
        """
        want = _arrays(state, frozen)
        numbers = jax.tree.unflatten(jax.tree.structure(state.optimizer), list(want["optimizer"]))
        # Of what the optimiser keeps the running mean, by the numbers of its leaves; without one, the parameters.
        mean = judged_weights(None, numbers)
        if mean is None:
            part = {"params": want["params"]}
        else:
            part = {"optimizer": {number: want["optimizer"][number] for number in jax.tree.leaves(mean)}}
        arrays, _ = self._checked(step, want, part | {"frozen": want["frozen"]})
        nnx.replace_by_pure_dict(frozen, arrays.get("frozen", {}))
        if mean is not None:
            return jax.tree.map(lambda number: arrays["optimizer"][number], mean), frozen
        nnx.replace_by_pure_dict(state.params, arrays["params"])
        return state.params, frozen

    def _checked(self, step: int, want: dict[str, Any], part: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of the arrays wanted those of `part`, held against what was saved of them; and the data position."""
        saved, arrays, data, fault, where = {}, {}, {}, None, self.folder / str(step)
        try:
            about, data = (_read_json(where, name) for name in ("about", "data"))
            _check_same(about["arrays"], _shapes(want), where)
            saved, arrays = about["fingerprint"], _read_arrays(where, part)
        except ModelError:
            raise
        except Exception as error:
            found = cause(error)
            if is_unreadable(found):
                raise DataError(
                    f"{where}: cannot be read ({first_line(found)}); nothing is changed: see to the disk or to the "
                    f"folder's permissions, and start the same command"
                ) from error
            if not is_damage(found):
                raise found from None
            fault = first_line(found)
        if not hosts.any_process(fault is not None):
            # All processes take the sums together, so all see the same.
            changed = [name for name, value in fingerprint(arrays).items() if value != saved.get(name)]
            if not changed:
                return arrays, data
            fault = f"{changed[0]} is not what was saved"
        raise DamagedCheckpoint(f"{where}: damaged ({fault or 'as another process found'})")

    def newest(
        self, read: Callable[[int], T], say: Callable[[str], None], set_aside: bool = False, anew: bool = False
    ) -> T | None:
        """What `read` gives of the newest checkpoint that is not damaged; None where there is none at all.

        Each damaged one is told of and, with `set_aside`, moved into `damaged/` beside the folder, so that its step
        can be saved again. Where all are, raises ModelError; with `anew` too all are set aside, as if there were none.
        """
        steps = sorted(self.manager.all_steps(), reverse=True)
        damaged: list[int] = []
        for step in steps:
            try:
                found = read(step)
            except DamagedCheckpoint as error:
                damaged.append(step)
                say(f"{error}; trying the one before")
                continue
            if set_aside and damaged:
                self._set_aside(damaged)
            return found
        if not steps:
            return None
        if not (set_aside and anew):
            raise ModelError(
                f"{self.folder}: all {len(steps)} checkpoints are damaged; put back a copy, or train anew with "
                f"overwrite=true"
            )
        self._set_aside(damaged)
        say(f"{self.folder}: all {len(steps)} checkpoints are damaged, and set aside; beginning anew")
        return None

    def wait(self) -> None:
        """Wait for saves under way. Raises DataError where one fails."""
        self._writing(self.manager.wait_until_finished)

    def close(self) -> None:
        """Wait for saves under way, and let go of the folder. Raises DataError where one fails."""
        self._writing(self.manager.close)

    def _set_aside(self, steps: list[int]) -> None:
        if hosts.is_first():
            aside = self.folder.parent / "damaged"
            aside.mkdir(exist_ok=True)
            for step in steps:
                name = next(
                    name for n in range(1000) if not (name := aside / (f"{step}-{n}" if n else f"{step}")).exists()
                )
                (self.folder / str(step)).rename(name)
        hosts.first_then_all(lambda: None)
        self.manager.reload()

    def _writing(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except (OSError, ValueError, RuntimeError, ocp.checkpoint_manager.StepAlreadyExistsError) as error:
            if is_out_of_memory(error):
                raise
            kept = [step for step in self.manager.all_steps(read=True) if step != self.saving]
            line = first_line(error, 200)
            full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
            way = "free space on the disk" if full else "see that the folder can be written to"
            before = f"that of step {max(kept)} is whole" if kept else "there is none before it"
            raise DataError(
                f"{self.folder}: a checkpoint could not be saved ({line}); {before}; {way} and start the same command"
            ) from error


def _read_json(checkpoint: Path, name: str) -> dict[str, Any]:
    return ocp.JsonCheckpointHandler().restore(checkpoint.absolute() / name)


def _read_arrays(checkpoint: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Those wanted, as they should lie; of each this process's part.

    By Orbax's handlers alone: its manager has all processes meet when they have read, and there those would stay that
    find nothing wrong, for the one that does.
    """
    shaped = jax.tree.map(ocp.utils.to_shape_dtype_struct, {k: v for k, v in wanted.items() if jax.tree.leaves(v)})
    how = ocp.checkpoint_utils.construct_restore_args(shaped)
    args = ocp.args.PyTreeRestore(shaped, restore_args=how, partial_restore=True)
    return ocp.PyTreeCheckpointHandler().restore(checkpoint.absolute() / "arrays", args=args)


def _arrays(state: TrainState, frozen: nnx.State) -> dict[str, Any]:
    # The optimiser's state is a tree of optax's own types: its leaves are saved by number.
    return {
        "params": nnx.to_pure_dict(state.params),
        "frozen": nnx.to_pure_dict(frozen),
        "optimizer": {f"{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(state.optimizer))},
        "step": state.step,
    }


def _shapes(arrays: dict[str, Any]) -> dict[str, list[Any]]:
    """Shape and dtype of every array by its dotted name."""
    flat = jax.tree.leaves_with_path(arrays)
    return {_name(path): [*map(int, leaf.shape), str(leaf.dtype)] for path, leaf in flat}


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(str(getattr(key, "key", key)) for key in path)


def _check_same(saved: dict[str, list[Any]], asked: dict[str, list[Any]], where: Path) -> None:
    for name in sorted({*saved, *asked}, key=lambda name: (name.startswith("optimizer"), name)):
        if saved.get(name) != asked.get(name):
            there, here = ("x".join(map(str, side[name])) if name in side else "absent" for side in (saved, asked))
            raise ModelError(
                f"{where}: not a checkpoint of this model ({name} is {there}, asked for {here}); "
                f"give another output folder"
            )
