"""What paper B leaves open, on its data: learning rate, centring and epochs.

Command:   toolrm sweep sweep=balanced output=runs/balanced_sweep jobs=1 model.path=MODEL
Needs:     data/balanced, from `toolrm prepare config=data/balanced output=data/balanced data.folder=FOLDER`
Cost:      24 trainings; docs/recipes.md estimates one. `halving=STEP` stops the worse points early
Follows:   Towards Agentic Tool-Use Reward Modeling (arXiv 2510.26167): its script has learning rate 4e-6, two
           epochs and plain Bradley-Terry loss; the grid stands around these
"""

from toolrm_jax.commands.sweep_points import Sweep


def config() -> Sweep:
    """A grid of eight points, each with three seeds."""
    return Sweep(
        {
            "data.train": "data/balanced/train",
            "data.held_out": "data/balanced/held_out",
            "optimizer.learning_rate": (4e-6, 2e-5),
            "loss.centring": (0.0, 0.01),
            "data.epochs": (1, 2),
            "seed": "0:3",
        }
    )
