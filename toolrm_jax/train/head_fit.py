"""The scalar head before the first step: a ridge regression on the backbone's own hidden states.

A head of zeros sends no gradient into the trunk, and a random one sends noise, which Adam turns into steps of full
size. Fitted in closed form it starts from what the backbone already tells apart (linear probing, then fine-tuning:
Kumar et al. 2022), and the trunk is bent from there.

Shape letters: B rows, T tokens, S answer slots, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import chz
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from toolrm_jax.data.rows import Rows
from toolrm_jax.errors import ConfigError
from toolrm_jax.models.attention import Visible
from toolrm_jax.models.attention_backend import Backend
from toolrm_jax.models.heads import RewardModel
from toolrm_jax.models.placement import placed
from toolrm_jax.train.layout import Layout


@chz.chz
class HeadFit:
    """What the fit reads and how much it is held back."""

    steps: int = 0  # steps whose rows it reads, the first of the run; 0: the head starts as it was loaded
    ridge: float = 0.03  # penalty on the head, as a share of the mean square of a hidden value

    def check(self) -> None:
        """Raises ConfigError for values that give no head."""
        if self.steps < 0:
            raise ConfigError(f"head_fit.steps={self.steps}: expected 0 or more")
        if not 0 < self.ridge < float("inf"):  # without it the equations may have no solution
            raise ConfigError(f"head_fit.ridge={self.ridge}: expected more than 0")


def token_weights(rows: Rows) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """(weight, label) of each token: label +1 while the answer so far could become a right one, else -1.

    All answer tokens together weigh 1, and the last ones, where the score is read, 1 more; in both, right and wrong
    weigh alike.
    """
    right, wrong = rows.still_right == 1, rows.still_right == 0
    filled = (rows.slot_group > 0).astype(jnp.float32)
    last = jax.vmap(lambda at, one: jnp.zeros(rows.tokens.shape[1]).at[at].add(one))(rows.score_at, filled) > 0
    share = lambda chosen: 0.5 * chosen / jnp.maximum(jnp.sum(chosen), 1)  # noqa: E731
    return share(right) + share(wrong) + share(right & last) + share(wrong & last), jnp.where(right, 1.0, -1.0)


def ridge_head(gram: Float[np.ndarray, "D D"], moment: Float[np.ndarray, " D"], ridge: float) -> np.ndarray:
    """The minimiser w [D] of w'Gw - 2w'm + ridge * mean(diag G) * w'w, solved in float64."""
    gram, moment = gram.astype(np.float64), moment.astype(np.float64)
    return np.linalg.solve(gram + ridge * np.diag(gram).mean() * np.eye(len(gram)), moment)


def make_fit(
    graph: nnx.GraphDef, config: HeadFit, dtype: jnp.dtype, layout: Layout, backend: Backend
) -> Callable[[nnx.State, nnx.State, Iterable[Rows]], nnx.State]:
    """A function `(trained, frozen, batches) -> trained` that replaces the scalar head."""

    def sums(params: nnx.State, frozen: nnx.State, rows: Rows) -> tuple[Array, Array]:
        model: RewardModel = nnx.merge(graph, params, frozen)
        with placed(layout.placed):
            visible = Visible.of(rows.group, rows.response)
            hidden = model(rows.tokens, rows.positions, visible, dtype, backend=backend)[0].astype(jnp.float32)
        weight, label = token_weights(rows)
        gram = jnp.einsum("bt,btd,bte->de", weight, hidden, hidden, precision="highest")
        return gram, jnp.einsum("bt,btd->d", weight * label, hidden, precision="highest")

    run = jax.jit(sums, out_shardings=layout.whole)

    def fit(params: nnx.State, frozen: nnx.State, batches: Iterable[Rows]) -> nnx.State:
        gram, moment = (
            np.sum(parts, axis=0) for parts in zip(*(map(np.asarray, run(params, frozen, b)) for b in batches))
        )
        head = ridge_head(gram, moment, config.ridge)
        params.score.set_value(jax.device_put(jnp.asarray(head[:, None], params.score.dtype), params.score.sharding))
        return params

    return fit
