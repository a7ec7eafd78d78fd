"""What paper A does not say, on its data: learning rate, centring weight, wrong answers a task, obfuscation, epochs.

Command:   toolrm sweep sweep=outcome output=runs/outcome_sweep jobs=1 model.path=MODEL
Needs:     the folder of public data sets, ~/.cache/toolrm-data (docs/preference_data.md)
Cost:      16 points of two seeds each, after preparing six data sets; docs/recipes.md estimates one training
Follows:   Outcome Reward Models for Tool-Calling LLMs (arXiv 2509.11963), which names none of these values. All points
           are judged on the same groups: BFCL's non-live questions, with which this recipe's data share nothing
"""

from toolrm_jax.commands.sweep_points import Sweep

DATA = {
    f"data/outcome_{wrong}_{name}": (f"wrong={wrong}", f"obfuscated={share}")
    for name, share in (("hidden", 1.0), ("half", 0.5), ("plain", 0.0))
    for wrong in (1, 3)
}
"""Folders by wrong answers of a task (K - 1), and by the share of the groups whose names are random."""


def config() -> Sweep:
    """Points drawn of all combinations."""
    prepared = [("prepare", "config=data/outcome", f"output={folder}", *words) for folder, words in DATA.items()]
    return Sweep(
        {
            "data.train": tuple(f"{folder}/train" for folder in DATA),
            "data.held_out": "data/bfcl/held_out",
            "optimizer.learning_rate": "log:2e-6:5e-5",
            "loss.centring": (0.001, 0.01, 0.1),
            "data.epochs": (1, 2),
            "seed": "0:2",
        },
        draws=16,
        before=[("prepare", "output=data/bfcl"), *prepared],
    )
