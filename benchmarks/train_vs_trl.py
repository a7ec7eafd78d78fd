"""Training on pairs: ours against TRL's RewardTrainer, in one run on the CPU, on the same real pairs.

    python benchmarks/train_vs_trl.py [--pairs 64] [--batch 4] [--hidden 512] [--layers 9] [--threads 2]

Half of the pairs are real models' right and wrong answers to BFCL's questions, half are turns of the Schema-Guided
Dialogues with a made mistake; contexts as they come. Both sides train every weight of the same Qwen3 shape (about 30
million) from the same weights in float32 with AdamW, on as many pairs a step, and take turns, a step each; the first
steps are not counted. Ours are rows of `toolrm train`: a pair is its context once and two answers, and rows are filled
up. TRL gets what it has: dynamic padding, batches of pairs of like length (`train_sampling_strategy`), sdpa, no
gradient checkpointing; it has no packing for rewards. Batches of like length are made of all pairs at once, the best
case for padding. Printed are pairs per second of both and the ratio, by the clock and by CPU time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--pairs", type=int, default=64)
parser.add_argument("--batch", type=int, default=4, help="pairs of a step; of 8 TRL takes 22 GB")
parser.add_argument("--longest", type=int, default=2048, help="tokens of a context with an answer, at most")
parser.add_argument("--hidden", type=int, default=512)
parser.add_argument("--layers", type=int, default=9)
parser.add_argument("--warm-up", type=int, default=1, help="steps of each side before the clock runs")
parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
options = parser.parse_args()
# JAX gets one device for each core, torch as many threads: both may use the same cores.
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.threads]))

from toolrm_jax.parallel.mesh import MeshConfig, make_mesh, spread, use_all_cores  # noqa: E402

use_all_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from real_groups import bfcl_pairs, encoded, qwen3, qwen3_shape, renumbered, sgd_groups  # noqa: E402
from torch_classifier import torch_classifier  # noqa: E402

from toolrm_jax.data.dataset import RowSource, batches  # noqa: E402
from toolrm_jax.data.tokens import TokenGroup  # noqa: E402
from toolrm_jax.models.attention_backend import backend_name, choose_backend  # noqa: E402
from toolrm_jax.models.folder import load_model  # noqa: E402
from toolrm_jax.train.layout import Layout  # noqa: E402
from toolrm_jax.train.loss import LossWeights  # noqa: E402
from toolrm_jax.train.optimizer import OptimizerConfig, make_optimizer  # noqa: E402
from toolrm_jax.train.step import make_train_step, split  # noqa: E402

RATE, CENTRING = 1e-5, 0.01


def real_pairs() -> list[TokenGroup]:
    """Half of each source, as tokens of Qwen3, drawn alike in every run."""
    half, chat = options.pairs // 2, qwen3()
    made = [
        encoded(chat, groups, options.longest)[: options.pairs - half if number else half]
        for number, groups in enumerate((bfcl_pairs(half + half // 4 + 4), sgd_groups(options.pairs * 2, mistakes=1)))
    ]
    pairs = [group for groups in made for group in groups]
    order = np.random.default_rng(0).permutation(len(pairs))
    return [pairs[i] for i in order]


def trl_steps(model: torch.nn.Module, pairs: list[TokenGroup], folder: Path) -> tuple[list[dict], Callable]:
    """TRL's batches of one epoch, and its step on one: what `RewardTrainer.train` does for each, less logging."""
    import datasets
    import trl
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, "<unk>"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>")
    columns = {
        name: [np.concatenate([pair.context, pair.responses[pair.right.index(right)]]).tolist() for pair in pairs]
        for name, right in (("chosen_ids", True), ("rejected_ids", False))
    }
    columns["length"] = [max(map(len, both)) for both in zip(*columns.values())]
    args = trl.RewardConfig(
        str(folder / "trl"),
        per_device_train_batch_size=options.batch,
        learning_rate=RATE,
        center_rewards_coefficient=CENTRING,
        max_length=None,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        remove_unused_columns=False,
        report_to="none",
        optim="adamw_torch",
    )
    trainer = trl.RewardTrainer(
        model, args, train_dataset=datasets.Dataset.from_dict(columns), processing_class=tokenizer
    )
    loader = list(trainer.get_train_dataloader())
    trainer.create_optimizer()
    prepared, optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    trainer.current_gradient_accumulation_steps = 1  # which `train` sets before its first step

    def step(batch: dict) -> float:
        prepared.train()
        loss = trainer.training_step(prepared, dict(batch))
        trainer.accelerator.clip_grad_norm_(prepared.parameters(), args.max_grad_norm)
        optimizer.step()
        prepared.zero_grad()
        return float(loss)

    return loader, step


def our_steps(folder: Path, pairs: list[TokenGroup]) -> tuple[list, Callable, str]:
    """Batches of rows of one epoch, of as many pairs a step, the step on one, and how they are laid out."""
    model, _ = load_model(folder)
    sizes = sum(pair.size for pair in pairs)
    longest = max(pair.size for pair in pairs)
    length = max(longest, options.longest)
    devices = jax.device_count()
    # As many rows as hold a batch's tokens, in the mean, on every device.
    rows = max(1, round(sizes / len(pairs) * options.batch / length / devices)) * devices
    mesh = make_mesh(MeshConfig(), rows)
    source = RowSource(pairs, length, 64, rows, 1, 0)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=RATE, beta2=0.999, warmup=0.0), 1000)
    graph, *values = split(model)
    layout = Layout.of(mesh, model.config, 0, *values, optimizer)
    state, frozen = layout.first_state(*values, optimizer)
    backend = choose_backend()
    run = make_train_step(graph, optimizer, LossWeights(centring=CENTRING), jnp.float32, "none", layout, backend)
    box = [state]

    def step(batch) -> float:
        box[0], metrics = run(box[0], frozen, spread(mesh, batch))
        return float(metrics["loss"])

    about = f"{rows} rows of {length} tokens a step, padding {source.padding:.1%}, {backend_name(backend)}"
    return list(batches(source, rows)), step, about


def timed(step: Callable, batch: object) -> np.ndarray:
    start = np.array([time.perf_counter(), time.process_time()])
    step(batch)
    return np.array([time.perf_counter(), time.process_time()]) - start


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(options.threads)
    pairs, vocabulary = renumbered(real_pairs())
    shape = qwen3_shape(options.hidden, options.layers, vocabulary)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = torch_classifier(shape, folder)
        ours, our_step, about = our_steps(folder, pairs)
        theirs, their_step = trl_steps(model, pairs, folder)
        weights = sum(parameter.numel() for parameter in model.parameters())
        tokens = sum(pair.size for pair in pairs)
        separate = sum(2 * len(pair.context) + sum(map(len, pair.responses)) for pair in pairs)
        padded = sum(batch["input_ids"].numel() for batch in theirs)
        print(f"{len(pairs)} pairs, {weights / 1e6:.1f} M weights, {options.threads} threads, float32")
        print(f"ours: {tokens:,} tokens; {len(ours)} steps, {about}")
        print(f"TRL:  {separate:,} tokens, {padded:,} with padding; {len(theirs)} steps of {options.batch} pairs")
        for batch, step in [(ours[0], our_step), (theirs[0], their_step)] * options.warm_up:
            step(batch)
        # Shapes that torch has not met cost it nothing more; ours is one shape.
        spent = {"ours": np.zeros(2), "TRL": np.zeros(2)}
        for number in range(max(len(ours), len(theirs))):
            for side, items, step in (("ours", ours, our_step), ("TRL", theirs, their_step)):
                if number < len(items):
                    spent[side] += timed(step, items[number])
    for side, (wall, cpu) in spent.items():
        print(f"{side:5} {len(pairs) / wall:6.2f} pairs/s by the clock, {len(pairs) / cpu:6.2f} by CPU seconds")
    wall, cpu = spent["TRL"] / spent["ours"]
    print(f"ours is {wall:.2f}x as fast by the clock, {cpu:.2f}x by CPU seconds (aim: 2x, then 3x)")


if __name__ == "__main__":
    main()
