"""Converting a folder of random weights in, through Orbax, and out: time and memory beside `cp` of the same files.

cp: what all is held against, the copy brought to the disk (fsync) as ours is; `cp alone` leaves it in memory. import:
folder to folder. load: folder to model. export: model to folder. to and from orbax: folder to checkpoint,
checkpoint to folder.

    python benchmarks/convert.py [--shapes Qwen2.5-0.5B[,Qwen2.5-1.5B]] [--repeats 3] [--scratch DIR]

Each step runs in a process of its own and in turn with `cp`; medians are printed, since `cp` of the same files was seen
to take three times as long as a minute before (in a virtual machine, likely for memory asked of its host). Seconds are
of the clock and, since a shared machine's clock says little, of the processor. Memory is what the process itself holds
at its peak (RssAnon), above what it held before: pages of mapped files are the system's. Beside it the same in sizes of
the largest tensor, which a larger model's follows from. Needs about four times the bytes of the weights on disk, and
for the steps through JAX twice in memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

STEPS = ("cp alone", "import", "load", "export", "to orbax", "from orbax")
SHARD = 2 * 10**9


def main() -> None:
    """Print a table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shapes", default="Qwen2.5-0.5B", help="names of presets, joined by commas")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", help="where to write; default: a temporary folder")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(json.dumps(step(given.step[0], Path(given.step[1]))))
        return
    for shape in given.shapes.split(","):
        with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
            measure(shape, Path(folder), given.steps.split(","), given.repeats)


def measure(shape: str, folder: Path, steps: list[str], repeats: int) -> None:
    """Make the folder, run the steps, each in turn with `cp`, and print a line for each."""
    size, largest = make(shape, folder / "in")
    print(f"{shape}: {size / 1e9:.2f} GB of bfloat16, largest tensor {largest / 1e9:.2f} GB")
    print(f"  {'step':<11} {'seconds':>8} {'x cp':>6} {'of CPU':>8} {'x cp':>6} {'peak GB':>8} {'x largest':>9}")
    for name in steps:
        found = [[_run(side, folder) for side in ("cp", name)] for _ in range(repeats)]
        middle = {key: statistics.median(one[key] for _, one in found) for key in ("seconds", "cpu", "peak")}
        ratio = {key: statistics.median(one[key] / cp[key] for cp, one in found) for key in ("seconds", "cpu")}
        print(
            f"  {name:<11} {middle['seconds']:>8.1f} {ratio['seconds']:>6.2f} "
            f"{middle['cpu']:>8.1f} {ratio['cpu']:>6.2f} {middle['peak'] / 1e9:>8.2f} {middle['peak'] / largest:>9.2f}",
            flush=True,
        )


def _run(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--step", name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def make(shape: str, folder: Path) -> tuple[int, int]:
    """A folder of random finite weights; bytes of all tensors and of the largest."""
    from toolrm_jax.converters.expected import expected_shapes
    from toolrm_jax.converters.safetensors_file import PendingTensor, tensor_bytes, write_shards
    from toolrm_jax.models.presets import preset

    config = preset(shape)
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)

    def values(dims: tuple[int, ...]) -> np.ndarray:
        # The exponent's highest bit cleared: finite, and of every other bit pattern.
        return (random.integers(0, 2**16, dims, np.uint16) & 0xBFFF).view(ml_dtypes.bfloat16)

    tensors = [
        PendingTensor(name, dims, lambda dims=dims: values(dims))
        for name, dims in expected_shapes(config, "policy").items()
    ]
    write_shards(folder, tensors, "bfloat16", SHARD)
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    names += ("num_key_value_heads", "head_dim", "rope_theta", "rms_norm_eps", "tie_word_embeddings")
    written = {name: getattr(config, name) for name in names} | {"model_type": config.model_type}
    written |= {"max_position_embeddings": config.max_position_embeddings}
    written |= {"architectures": [config.architecture("ForCausalLM")]}
    (folder / "config.json").write_text(json.dumps(written))
    sizes = [tensor_bytes(tensor.shape, "bfloat16") for tensor in tensors]
    return sum(sizes), max(sizes)


def step(name: str, folder: Path) -> dict[str, float]:
    """Run one step and say what it took. Imports are not counted: they are the same for any size."""
    if name in ("cp", "cp alone"):
        return timed(lambda: copy(folder / "in", folder / "copy", to_disk=name == "cp"), folder / "copy")
    import jax.numpy as jnp
    from flax import nnx

    from toolrm_jax.converters.expected import has_torch, transformers_shapes
    from toolrm_jax.converters.huggingface import export_folder, model_tensors
    from toolrm_jax.converters.import_folder import import_folder
    from toolrm_jax.models.config import TrunkConfig, read_config
    from toolrm_jax.models.folder import load_model
    from toolrm_jax.models.heads import RewardModel
    from toolrm_jax.train.checkpoints import Checkpoints
    from toolrm_jax.train.layout import TrainState
    from toolrm_jax.train.step import split

    def load() -> RewardModel:
        return load_model(folder / "in", dtype=jnp.bfloat16)[0]

    def export(model: RewardModel) -> None:
        export_folder(
            folder / "out",
            config=raw,
            tensors=model_tensors(model, "policy"),
            chat=NoTokenizer(),
            facts=dict.fromkeys(("training_config_hash", "data_card_hash"), ""),
            card="",
            task="policy",
            max_shard_size=SHARD,
        )
        same(folder / "in", folder / "out")

    def to_orbax() -> None:
        _, params, frozen = split(load())
        checkpoints = Checkpoints(folder / "steps", 1)
        checkpoints.save(TrainState(params, {}, jnp.zeros((), jnp.int32)), frozen, {}, {})
        checkpoints.close()

    def from_orbax() -> None:
        import jax

        shape = TrunkConfig.from_huggingface(raw)
        graph, params, frozen = split(nnx.eval_shape(lambda: RewardModel(shape, rngs=nnx.Rngs(0))))
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        params, frozen = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16, sharding=here), (params, frozen)
        )
        step = jax.ShapeDtypeStruct((), jnp.int32, sharding=here)
        checkpoints = Checkpoints(folder / "steps", 1)
        state, frozen, _ = checkpoints.restore(0, TrainState(params, {}, step), frozen)
        checkpoints.close()
        export(nnx.merge(graph, state.params, frozen))

    raw = read_config(folder / "in")
    if has_torch():
        transformers_shapes(raw, "policy")
    if name == "load":
        return timed(load)
    if name == "export":
        model = load()
        return timed(lambda: export(model), folder / "out")
    if name == "import":
        return timed(lambda: import_folder(folder / "in", folder / "new", max_shard_size=SHARD), folder / "new")
    if name == "to orbax":
        return timed(to_orbax)
    return timed(from_orbax, folder / "out")


def copy(there: Path, here: Path, to_disk: bool) -> None:
    """What a person would type."""
    subprocess.run(["cp", "-r", there, here], check=True)
    if to_disk:
        subprocess.run(["sync", *here.iterdir()], check=True)


class NoTokenizer:
    """Stands where export writes the tokenizer: here are weights alone."""

    end_of_turn, end_of_turn_id, pad_id = "<|im_end|>", 1, 0

    def save(self, folder: Any) -> None:
        """Nothing."""


def same(a: Path, b: Path) -> None:
    """Fail unless the shards hold the same tensors."""
    from toolrm_jax.converters.safetensors_header import stored_tensors

    there, here = stored_tensors(a), stored_tensors(b)
    assert {n: (t.dtype, t.shape) for n, t in there.items()} == {n: (t.dtype, t.shape) for n, t in here.items()}


def timed(run: Any, result: Path | None = None) -> dict[str, float]:
    """Seconds of the clock and of the processor, and bytes at the peak; what was written is removed."""
    with peak() as seen:
        before, start = _cpu(), time.perf_counter()
        run()
        seconds, cpu = time.perf_counter() - start, _cpu() - before
    if result:
        shutil.rmtree(result)
    return {"seconds": seconds, "cpu": cpu - seen.spent, "peak": seen.largest}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@dataclasses.dataclass(slots=True)
class Seen:
    """The most bytes seen so far, and the seconds of the processor that looking took."""

    largest: int = 0
    spent: float = 0.0


@contextmanager
def peak() -> Iterator[Seen]:
    """The process's own memory, looked at every 20 ms, above what it held before."""
    done, first, seen = threading.Event(), _own(), Seen()

    def look() -> None:
        while not done.wait(0.02):
            seen.largest = max(seen.largest, _own() - first)
            seen.spent = time.thread_time()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def _own() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024


if __name__ == "__main__":
    main()
