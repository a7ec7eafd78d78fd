"""One mistake made in several calls of an answer: who misreads a parameter misreads it each time."""

from __future__ import annotations

import random

from toolrm_jax.toolcalls.mistake_calls import Edit, Scene
from toolrm_jax.toolcalls.types import Call, Candidate


def repeated(edit: Edit, rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate | None:
    """The edit made alike in every call of one of the tools called, or, where no tool is called twice, in every call.

    Each call is edited alone and by the same random numbers, so calls of one form come out wrong in the same way.
    None where the edit has no place.
    """
    name = rng.choice(calls).name
    places = {i for i, call in enumerate(calls) if call.name == name}
    if len(places) == 1:
        places = set(range(len(calls)))
    state = rng.random()
    edited = {i: edit(random.Random(state), scene, (calls[i],)) for i in sorted(places)}
    new = {i: made.calls for i, made in edited.items() if made is not None and made.fault is None}
    if not new:
        return None
    return Candidate(tuple(call for i, old in enumerate(calls) for call in new.get(i, (old,))))
