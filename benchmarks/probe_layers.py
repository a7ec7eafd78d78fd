"""How deep a backbone knows what is right: a linear probe of its hidden states after every layer.

For each layer, a ridge regression on made groups of BFCL live tasks predicts, at every answer token, whether the
answer so far could still become a right one, and log p(token) under the whole model. Printed is the correlation with
the truth on groups of non-live tasks, whose functions the fit has not seen. The best layer is a good `model.layers`
for training in little time: what lies above it turns the knowledge into words.

    python benchmarks/probe_layers.py [model] [groups]
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from toolrm_jax.parallel.mesh import data_mesh, replicate, spread, use_all_cores

use_all_cores()

import chz  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402

from toolrm_jax.commands.backbone import backbone  # noqa: E402
from toolrm_jax.commands.prepare import prepare  # noqa: E402
from toolrm_jax.configs import quickstart  # noqa: E402
from toolrm_jax.data.chat import Chat  # noqa: E402
from toolrm_jax.data.dataset import RowSource, batches  # noqa: E402
from toolrm_jax.data.rows import Rows  # noqa: E402
from toolrm_jax.data.store import encode  # noqa: E402
from toolrm_jax.models.attention import Visible  # noqa: E402
from toolrm_jax.models.folder import load_model  # noqa: E402
from toolrm_jax.preferences.shards import read_groups  # noqa: E402
from toolrm_jax.train.head_fit import ridge_head  # noqa: E402

LENGTH, RIDGE, FLOOR = 1024, 0.01, -8.0
"""Row length in tokens; penalty; log-probabilities below the floor are put there, since a few would rule the fit."""


def features(model, groups) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all answer tokens: hidden states [L, N, D] of unit scale, still right (+1 or -1) [N], and log p [N]."""
    mesh = data_mesh(2)
    graph, state = nnx.split(model)
    state = replicate(mesh, state)

    @jax.jit
    def run(state, rows: Rows):
        model = nnx.merge(graph, state)
        visible = Visible.of(rows.group, rows.response)
        layers = model.trunk.each_layer(rows.tokens, rows.positions, visible)
        hidden, _ = model(rows.tokens, rows.positions, visible)
        return layers, model.log_probabilities(hidden, rows.previous, rows.tokens)

    found = []
    for rows in batches(RowSource(groups, LENGTH, 64, 2, 1, 0), 2):
        layers, logp = map(np.asarray, run(state, spread(mesh, rows)))
        answers = rows.response > 0
        found.append((layers[:, answers], np.where(rows.still_right[answers] == 1, 1.0, -1.0), logp[answers]))
    hidden, right, logp = (np.concatenate(parts, axis=axis) for parts, axis in zip(zip(*found), (1, 0, 0)))
    return hidden / np.sqrt(np.mean(hidden**2, axis=-1, keepdims=True)), right, np.maximum(logp, FLOOR)


def probe(seen: np.ndarray, target: np.ndarray, unseen: np.ndarray, truth: np.ndarray) -> float:
    """Correlation of the ridge fit on `seen` with the truth on `unseen`."""
    middle = seen.mean(axis=0)
    x = (seen - middle).astype(np.float64)
    head = ridge_head(x.T @ x, x.T @ (target - target.mean()), RIDGE)
    return float(np.corrcoef((unseen - middle) @ head, truth)[0, 1])


def main(name: str = "smollm2-135m", count: int = 100) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = backbone(name, Path(temporary) / "backbone")
        config = chz.replace(quickstart.config().prepare, output=str(Path(temporary) / "groups"))
        prepare(config)
        chat, (model, _) = Chat.load(folder), load_model(folder)
        sides = []
        for side in ("train", "held_out"):
            groups = read_groups(Path(config.output) / side)
            drawn = random.Random(0).sample(range(len(groups)), min(len(groups), 2 * count))  # ids go by category
            tokens = [encode(chat, groups[index]) for index in drawn]
            sides.append(features(model, [group for group in tokens if group.size <= LENGTH][:count]))
    (seen, right, logp), (unseen, right_there, logp_there) = sides
    print(f"{name}: {count} groups a side, {len(right):,} and {len(right_there):,} answer tokens")
    print("layer  still right  log p(token)")
    for layer in range(len(seen)):
        cells = [probe(seen[layer], a, unseen[layer], b) for a, b in ((right, right_there), (logp, logp_there))]
        print(f"{layer + 1:>5}  {cells[0]:>11.3f}  {cells[1]:>12.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
