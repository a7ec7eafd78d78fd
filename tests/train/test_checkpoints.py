"""Checkpoints are whole or absent; the newest that holds what was saved is the one that counts."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.parallel.test_hosts import start
from toolrm_jax.errors import ConfigError, DataError, ModelError
from toolrm_jax.train.checkpoints import Checkpoints, DamagedCheckpoint
from toolrm_jax.train.fingerprint import fingerprint
from toolrm_jax.train.layout import TrainState
from toolrm_jax.train.optimizer import Mean


def state(step: int, width: int = 40) -> tuple[TrainState, nnx.State]:
    """Values that no other step has, and that do not compress."""
    draw = np.random.default_rng(step)
    normal = lambda *shape: jnp.asarray(draw.normal(size=shape), jnp.float32)  # noqa: E731
    params = nnx.State({"kernel": nnx.Param(normal(50, width)), "norm": nnx.Param(normal(width))})
    frozen = nnx.State({"embedding": nnx.Param(normal(9, width).astype(jnp.bfloat16))})
    return TrainState(params, (normal(50, width), jnp.asarray(step)), jnp.asarray(step, jnp.int32)), frozen


def save(checkpoints: Checkpoints, step: int, **measured: float) -> None:
    checkpoints.save(*state(step), {"at": step}, {"seed": 3}, measured or None)


def save_and_wait(checkpoints: Checkpoints, step: int) -> None:
    save(checkpoints, step)
    checkpoints.wait()


def newest(checkpoints: Checkpoints, say, width: int = 40, **how):
    return checkpoints.newest(lambda step: checkpoints.restore(step, *state(9, width)), say, **how)


def leaves(*trees) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(trees)]


def assert_is(found, step: int) -> None:
    there, frozen, data = found
    assert data == {"at": step}
    for a, b in zip(leaves(there, frozen), leaves(*state(step)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def three(tmp_path):
    """A folder with checkpoints of steps 1, 2 and 3."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for step in (1, 2, 3):
        save(checkpoints, step)
    checkpoints.close()
    return tmp_path / "checkpoints"


def data_files(folder: Path, step: int) -> list[Path]:
    """The files of a checkpoint's arrays, the largest first."""
    files = [path for path in (folder / str(step) / "arrays").rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: -path.stat().st_size)


def test_what_is_read_is_what_was_saved(three):
    checkpoints = Checkpoints(three, keep=3, to_read=True)
    assert_is(checkpoints.restore(2, *state(9)), 2)
    assert_is(newest(checkpoints, pytest.fail), 3)


def test_kept_are_the_newest_the_best_and_every_nth(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2, keep_every=4, keep_best="correct")
    for step, correct in enumerate((0.5, 0.8, 0.9, 0.7, 0.9, 0.6, 0.4, 0.3, 0.2), start=1):
        save(checkpoints, step, correct=correct)
    checkpoints.wait()
    assert set(checkpoints.manager.all_steps()) == {4, 8, 9, 5}, "of the two best the newer one"
    checkpoints.close()


def test_the_best_loss_is_the_lowest_and_an_unmeasured_checkpoint_is_never_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, keep_best="ranking")
    for step, ranking in enumerate((0.9, 0.2, 0.5), start=1):
        save(checkpoints, step, ranking=ranking)
    save(checkpoints, 4)
    checkpoints.wait()
    assert set(checkpoints.manager.all_steps()) == {2, 4}
    checkpoints.close()


def test_the_best_is_known_again_after_a_restart(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, keep_best="correct")
    for step, correct in enumerate((0.9, 0.5), start=1):
        save(checkpoints, step, correct=correct)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, keep=1, keep_best="correct")
    save(checkpoints, 3, correct=0.6)
    checkpoints.wait()
    assert set(checkpoints.manager.all_steps()) == {1, 3}
    checkpoints.close()


def cut_off(folder: Path) -> None:
    file = data_files(folder, 3)[0]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(folder: Path) -> None:
    file = data_files(folder, 3)[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def remove_arrays(folder: Path) -> None:
    for file in data_files(folder, 3):
        file.unlink()


def garble_about(folder: Path) -> None:
    (file,) = (folder / "3" / "about").rglob("metadata")
    file.write_text("{")


def of_another_step(folder: Path) -> None:
    """Whole files, but not those that the fingerprint was taken of."""
    (folder / "3" / "arrays").rename(folder.parent / "away")
    (folder / "2" / "arrays").rename(folder / "3" / "arrays")


@pytest.mark.parametrize("damage", [cut_off, flip_a_bit, remove_arrays, garble_about, of_another_step])
def test_a_damaged_newest_checkpoint_is_told_of_and_the_one_before_it_taken(three, damage):
    damage(three)
    said: list[str] = []
    checkpoints = Checkpoints(three, keep=3, to_read=True)
    if damage is of_another_step:
        assert_is(newest(checkpoints, said.append), 1)
        assert len(said) == 2, "the arrays of the second are gone"
    else:
        assert_is(newest(checkpoints, said.append), 2)
    assert f"{three / '3'}: damaged (" in said[0]
    assert "trying the one before" in said[0]
    assert (three / "3").is_dir(), "reading changes nothing"


def test_a_run_that_goes_on_sets_the_damaged_one_aside_and_saves_that_step_again(three):
    flip_a_bit(three)
    checkpoints = Checkpoints(three, keep=3)
    assert_is(newest(checkpoints, lambda _: None, set_aside=True), 2)
    assert (three.parent / "damaged" / "3").is_dir()
    assert checkpoints.latest() == 2
    save(checkpoints, 3)
    checkpoints.wait()
    assert_is(newest(checkpoints, pytest.fail), 3)
    checkpoints.close()


def test_damage_that_one_of_two_processes_finds_is_known_to_both_and_both_take_the_one_before(tmp_path):
    first, second = start(Path(__file__).with_name("two_readers.py"), 2, tmp_path / "checkpoints")
    told = [process.communicate(timeout=600) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], told
    lines = [out.splitlines()[-1] for out, _ in told]
    assert "2: damaged (as another process found); trying the one before" in lines[0]
    assert "2: damaged (" in lines[1]
    assert sorted(path.name for path in tmp_path.glob("*/[0-9]")) == ["1", "2"]
    assert (tmp_path / "damaged" / "2").is_dir()


def test_where_all_are_damaged_the_run_does_not_begin_anew_by_itself(three):
    for step in (1, 2, 3):
        for file in data_files(three, step):
            file.write_bytes(b"")
    with pytest.raises(ModelError, match="all 3 checkpoints are damaged"):
        newest(Checkpoints(three, keep=3), lambda _: None)


def test_where_all_are_damaged_beginning_anew_sets_all_aside(three):
    for step in (1, 2, 3):
        for file in data_files(three, step):
            file.write_bytes(b"")
    said: list[str] = []
    checkpoints = Checkpoints(three, keep=3)
    assert newest(checkpoints, said.append, set_aside=True, anew=True) is None
    assert said[-1].endswith("all 3 checkpoints are damaged, and set aside; beginning anew")
    assert sorted(path.name for path in (three.parent / "damaged").iterdir()) == ["1", "2", "3"]
    save(checkpoints, 1)
    checkpoints.wait()
    assert_is(newest(checkpoints, pytest.fail), 1)
    checkpoints.close()


def cannot_be_opened(folder: Path) -> None:
    """As a file on a failing disk: the system refuses to open it."""
    file = data_files(folder, 3)[0]
    file.unlink()
    file.symlink_to(file.name)


def test_what_the_system_refuses_to_read_is_not_called_damaged_and_stays_where_it_is(three):
    cannot_be_opened(three)
    checkpoints = Checkpoints(three, keep=3)
    with pytest.raises(DataError, match=r"3: cannot be read \(UNKNOWN: .*; nothing is changed") as error:
        newest(checkpoints, pytest.fail, set_aside=True)
    assert "\n" not in str(error.value)
    assert checkpoints.latest() == 3
    assert not (three.parent / "damaged").exists()


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), jax.errors.JaxRuntimeError),
        (MemoryError(), MemoryError),
        (PermissionError(13, "Permission denied", "x"), DataError),
        (OSError(5, "Input/output error"), DataError),
        (ValueError("UNAVAILABLE: the server does not answer"), DataError),
    ],
    ids=["device memory", "host memory", "permission", "disk", "server"],
)
def test_an_error_that_says_nothing_of_the_files_is_raised_as_what_it_is(three, monkeypatch, raised, told):
    checkpoints = Checkpoints(three, keep=3)

    def fails(*_, **__):
        raise raised

    monkeypatch.setattr("orbax.checkpoint.args.PyTreeRestore", fails)
    with pytest.raises(told):
        newest(checkpoints, pytest.fail, set_aside=True)
    assert checkpoints.latest() == 3
    assert not (three.parent / "damaged").exists()


def bits(seed: int, mean: bool) -> tuple[TrainState, nnx.State]:
    """A state of whole numbers of which no bit can be saved, so that they stand in the files as they are."""
    draw = np.random.default_rng(seed)
    made = lambda: nnx.Param(jnp.asarray(draw.integers(0, 2**32, (50, 40), np.uint32)))  # noqa: E731
    params, moments = nnx.State({"kernel": made()}), nnx.State({"kernel": made()})
    kept = (moments, Mean(nnx.State({"kernel": made()}))) if mean else (moments,)
    return TrainState(params, kept, jnp.asarray(seed, jnp.int32)), nnx.State({"embedding": made()})


def flip_a_bit_of(folder: Path, values: jax.Array) -> None:
    for file in data_files(folder, 3):
        content = bytearray(file.read_bytes())
        if (at := content.find(np.asarray(values).tobytes())) >= 0:
            content[at] ^= 1
            file.write_bytes(content)
            return
    raise AssertionError("these values are in no file")


@pytest.mark.parametrize("mean", [False, True], ids=["parameters", "running mean"])
def test_to_judge_a_model_its_weights_alone_are_read(tmp_path, mean):
    """Held by breaking what may not be read: the moments, and beside a running mean the parameters too."""
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(*bits(3, mean), {}, {})
    checkpoints.close()
    saved, frozen = bits(3, mean)
    judged = saved.optimizer[-1].mean if mean else saved.params
    flip_a_bit_of(tmp_path, saved.optimizer[0]["kernel"][...])
    if mean:
        flip_a_bit_of(tmp_path, saved.params["kernel"][...])
    reader = Checkpoints(tmp_path, keep=3, to_read=True)
    for a, b in zip(leaves(reader.restore_judged(3, *bits(9, mean))), leaves((judged, frozen)), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(DamagedCheckpoint):
        reader.restore(3, *bits(9, mean))
    flip_a_bit_of(tmp_path, judged["kernel"][...])
    with pytest.raises(DamagedCheckpoint, match="is not what was saved"):
        reader.restore_judged(3, *bits(9, mean))


def test_a_checkpoint_of_another_model_is_refused_with_the_first_array_that_differs(three):
    with pytest.raises(ModelError, match=r"3: not a checkpoint of this model \(frozen.embedding is 9x40x.*9x8x"):
        newest(Checkpoints(three, keep=3, to_read=True), lambda _: None, width=8)


def test_what_a_crash_while_saving_left_is_no_checkpoint(three):
    half = three / "4.orbax-checkpoint-tmp-17" / "arrays"
    half.mkdir(parents=True)
    (half / "manifest.ocdbt").write_bytes(b"half")
    checkpoints = Checkpoints(three, keep=3)
    assert_is(newest(checkpoints, pytest.fail), 3)
    save(checkpoints, 4)
    checkpoints.close()
    assert not list(three.glob("*tmp*")), "and it is cleared away"


def test_a_disk_that_fills_up_while_saving_is_told_of_and_the_checkpoint_before_stays(three):
    checkpoints = Checkpoints(three, keep=3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[0][1]))
    try:
        with pytest.raises(DataError, match=r"could not be saved .*that of step 3 is whole") as error:
            save_and_wait(checkpoints, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
        signal.signal(signal.SIGXFSZ, before[1])
    assert "\n" not in str(error.value)
    assert_is(newest(Checkpoints(three, keep=3), pytest.fail), 3)


def test_a_device_without_room_for_the_copy_is_not_told_of_as_a_folder(three, monkeypatch):
    checkpoints = Checkpoints(three, keep=3)

    def full(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(checkpoints.manager, "save", full)
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"):
        save(checkpoints, 4)


def test_a_folder_that_cannot_be_made_is_told_of_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        Checkpoints(tmp_path / "file" / "checkpoints", keep=1)


def test_a_fingerprint_changes_with_any_bit_and_with_the_order_of_values():
    draw = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    found = fingerprint({"a": jnp.asarray(draw)})
    bits = draw.view(np.uint32).ravel().astype(object)
    assert found == {"a": sum(b * (2 * place + 1) for place, b in enumerate(bits)) % 2**32}
    for change in (draw[::-1], draw.swapaxes(0, 1).reshape(draw.shape), np.nextafter(draw, np.float32(9))):
        assert fingerprint({"a": jnp.asarray(change)}) != found
