"""Which source is read by which unit of work, and the work on one unit: tasks in, shards of groups out.

A source's parts (files that can be read alone) are gathered to units of some size. A unit's tasks are cut into batches,
and each batch becomes a shard (preferences/stage.py). Which units there are depends on the data alone.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import file_hash, write_file
from toolrm_jax.preferences.stage import Item, Job, index_path, make_shard, shard_name
from toolrm_jax.sources import Drops, Source, source
from toolrm_jax.sources.places import find
from toolrm_jax.toolcalls.types import Candidate, Task

UNIT_BYTES = 4 << 20
"""Parts smaller than this are read by one unit with their neighbours."""
RATED = "+rated"
_SPEC = re.compile(r"(?P<name>\w+)(?:/(?P<category>[\w-]+))?(?P<rated>\+rated)?(?:=(?P<path>.+))?")


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """One source of a config: `NAME`, `NAME/CATEGORY` for tasks of categories that begin so, `NAME=PATH` for files
    elsewhere than in the data folder, `NAME+rated` for its labelled candidates in place of its tasks."""

    name: str
    category: str = ""
    rated: bool = False
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Spec:
        """The spec as written in a config. Raises ConfigError."""
        found = _SPEC.fullmatch(text)
        if found is None:
            raise ConfigError(f"source {text!r}: write NAME, NAME/CATEGORY, NAME{RATED} or NAME=PATH")
        source(found["name"])
        return cls(found["name"], found["category"] or "", bool(found["rated"]), found["path"])

    @property
    def source(self) -> Source:
        """What is known of the source."""
        return source(self.name)

    def place(self, root: Path) -> str | Path | None:
        """Where its files are: the path given, a folder of its name under `root`, or None, its usual place."""
        if self.path is not None:
            return self.path
        return root / self.name if (root / self.name).exists() else None

    def read(self, path: str | Path | None, drops: Drops) -> Iterator[Item]:
        """Tasks with the answers that come with them."""
        if self.rated:
            for group in self.source.read_candidates(path, drops):
                wrong = [one for one, verdict in zip(group.candidates, group.verdicts) if not verdict.right]
                if group.task.category.startswith(self.category):
                    yield group.task, wrong
        else:
            for task in self.source.read(path, drops):
                if task.category.startswith(self.category):
                    yield task, ()


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """Parts of one source that are read together. `name` is its place among all units, for the names of its shards."""

    name: str
    spec: Spec
    parts: tuple[Path | str | None, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What is the same for every unit. `answers`: a file of real answers by task id, written by `save_answers`.

    `epochs`: of training, for each of which every batch gives a shard.
    """

    folder: Path
    job: Job
    shard_tasks: int
    answers: Path | None = None
    epochs: int = 1


def plan(specs: Sequence[Spec], root: Path) -> list[Unit]:
    """The units of all sources, in the order of the specs and of the sources' parts."""
    units = []
    for spec in specs:
        place = spec.place(root)
        parts = (place,) if spec.rated else spec.source.parts(place)
        for some in _gathered(parts):
            units.append(Unit(f"{len(units):05d}", spec, some))
    return units


def run_unit(work: Work, unit: Unit) -> None:
    """Make every shard of the unit that is not there yet, and last a note of what reading left out."""
    note = note_path(work.folder, unit.name)
    if note.exists():
        return
    drops = Drops(strict=work.job.strict)
    answers = _answers(work.answers) if work.answers else {}
    items = (item for part in unit.parts for item in unit.spec.read(part, drops))
    tasks = 0
    for number, batch in enumerate(_batches(items, work.shard_tasks)):
        tasks += len(batch)
        names = [shard_name(f"{unit.name}-{number:04d}", epoch) for epoch in range(work.epochs)]
        todo = [epoch for epoch, name in enumerate(names) if not index_path(work.folder, name).exists()]
        whole = [(task, (*some, *answers.get(task.id, ()))) for task, some in batch] if todo else []
        for epoch in todo:
            make_shard(work.folder, names[epoch], whole, work.job, epoch)
    told = {"tasks": tasks, "drops": dict(drops.counts), "first": drops.first, "source": unit.spec.name}
    write_file(note, json.dumps(told))


def note_path(folder: Path, name: str) -> Path:
    """Where the note of a finished unit is."""
    return folder / f"read-{name}.json"


def fingerprint(spec: Spec, root: Path) -> str:
    """sha256 (hex) over the names and contents of a source's files."""
    place = find(spec.place(root))
    if place is None:
        found = importlib.util.find_spec("bfcl_eval") if spec.name == "bfcl" else None
        if found is None or not found.submodule_search_locations:
            raise DataError(
                f"source {spec.name!r}: {root / spec.name} is not there; unpack it, say {spec.name}=PATH, or leave it "
                "out of data.sources and data.benchmarks"
            )
        place = Path(found.submodule_search_locations[0], "data")
    return files_hash(place)


def files_hash(place: Path) -> str:
    """sha256 (hex) over the names and contents of the file, or of all files in the folder."""
    if not place.exists():
        raise DataError(f"{place}: no such file or folder")
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.relative_to(place) if file != place else file.name}\0{file_hash(file)}\n".encode())
    return whole.hexdigest()


def save_answers(path: Path, answers: Iterable[tuple[str, Candidate]]) -> int:
    """Write real answers by task id for `Work.answers`; returns how many there are."""
    found: dict[str, list] = {}
    for task, candidate in answers:
        found.setdefault(task, []).append(candidate.to_json())
    write_file(path, json.dumps(found))
    return sum(map(len, found.values()))


@functools.lru_cache(maxsize=1)
def _answers(path: Path) -> dict[str, tuple[Candidate, ...]]:
    found = json.loads(path.read_bytes())
    return {task: tuple(map(Candidate.from_json, some)) for task, some in found.items()}


def _gathered(parts: Sequence[Path | str | None]) -> Iterator[tuple[Path | str | None, ...]]:
    """Neighbouring parts together until they have UNIT_BYTES."""
    some, size = [], 0
    for part in parts:
        some.append(part)
        size += part.stat().st_size if isinstance(part, Path) and part.is_file() else UNIT_BYTES
        if size >= UNIT_BYTES:
            yield tuple(some)
            some, size = [], 0
    if some:
        yield tuple(some)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    batch: list[tuple[Task, Sequence[Candidate]]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
