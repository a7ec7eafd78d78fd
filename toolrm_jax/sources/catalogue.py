"""What every source is: under which licence, who wrote its answers, whether it trains by default, who reads it."""

from __future__ import annotations

import dataclasses
import enum
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TypeVar

from toolrm_jax.errors import ConfigError
from toolrm_jax.sources.drops import REPEATED_ID, Drops
from toolrm_jax.sources.places import find
from toolrm_jax.toolcalls.types import Group, Task

NO_LICENCE = "none stated"


class Answers(enum.StrEnum):
    """Who wrote the answers of a source: its references, or its candidates where it is read for these."""

    PEOPLE = "people"
    PROGRAMS = "programs"
    OPEN_MODELS = "open models"
    CLOSED_MODELS = "closed models"
    MIXED_MODELS = "open and closed models"
    UNKNOWN = "not stated"


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One public data set.

    licence: SPDX identifier of the data's licence, or NO_LICENCE. origin: where it is published.
    why_not: why it does not train by default; empty where it does. Never empty where the licence forbids
    commercial use or is not stated, nor where the candidates are of closed models (paper A's rule).
    reads_tasks, reads_candidates: which of the two functions its module, of the same name, has.
    """

    name: str
    about: str
    licence: str
    origin: str
    answers: Answers
    why_not: str = ""
    reads_tasks: bool = True
    reads_candidates: bool = False

    @property
    def trains(self) -> bool:
        """Whether it may train by default."""
        return not self.why_not

    def read(self, path: str | Path | None, drops: Drops) -> Iterator[Task]:
        """Tasks in the order published. `path`: file, folder or hub id; None where the source has a usual place."""
        if not self.reads_tasks:
            raise ConfigError(f"source {self.name!r} holds labelled candidates; read them with read_candidates")
        return _once(self._reader().read(find(path), drops), drops)

    def read_candidates(self, path: str | Path | None, drops: Drops) -> Iterator[Group]:
        """Groups of labelled candidates in the order published; a task may lack a reference, a group a right answer."""
        if not self.reads_candidates:
            known = ", ".join(name for name, source in SOURCES.items() if source.reads_candidates)
            raise ConfigError(f"source {self.name!r} has no labelled candidates; these have: {known}")
        return _once(self._reader().read_candidates(find(path), drops), drops)

    def parts(self, path: str | Path | None) -> tuple[Path | None, ...]:
        """Paths that can be read alone, by other processes too: their tasks in this order are those of `path`."""
        place = find(path)
        split = getattr(self._reader(), "parts", None)
        return tuple(split(place)) if split and self.reads_tasks else (place,)

    def _reader(self) -> ModuleType:
        return importlib.import_module(f"toolrm_jax.sources.{self.name}")


Item = TypeVar("Item", Task, Group)


def _once(items: Iterator[Item], drops: Drops) -> Iterator[Item]:
    """The tasks or groups, those with an id that was there before left out."""
    seen: set[str] = set()
    for item in items:
        task = item.task if isinstance(item, Group) else item
        if task.id in seen:
            drops.add(REPEATED_ID, f"{task.source} task {task.id}")
            continue
        seen.add(task.id)
        yield item


_GITHUB = "https://github.com/"
_HUB = "https://huggingface.co/datasets/"
_NO_REFERENCE = "it has no reference answers"
_NOT_STATED = "the licence is not stated"
_NON_COMMERCIAL = "the licence forbids commercial use"
_BENCHMARK = "a benchmark, to be tested on"

_ALL = (
    Source(
        "bfcl",
        "single-turn questions of the Berkeley Function Calling Leaderboard v4",
        "Apache-2.0",
        f"{_GITHUB}ShishirPatil/gorilla",
        Answers.PEOPLE,
    ),
    Source(
        "bfcl_outputs",
        "answers of some ninety models to BFCL's questions, graded by its checker",
        NO_LICENCE,
        f"{_GITHUB}HuanzhiMao/BFCL-Result and others",
        Answers.MIXED_MODELS,
        "three of the repositories state no licence, and some models are closed",
        reads_tasks=False,
        reads_candidates=True,
    ),
    Source(
        "bfcl_multi_turn",
        "BFCL's multi-turn questions, and runs of gpt-oss on them that passed or failed",
        NO_LICENCE,
        f"{_GITHUB}bbrowning/bfcl-vllm-results",
        Answers.OPEN_MODELS,
        "the licence of the runs is not stated, and the questions are a benchmark",
        reads_candidates=True,
    ),
    Source(
        "sgd",
        "Schema-Guided Dialogue: 20 domains, a decision at every system turn",
        "CC-BY-SA-4.0",
        f"{_GITHUB}google-research-datasets/dstc8-schema-guided-dialogue",
        Answers.PROGRAMS,
    ),
    Source(
        "star",
        "STAR: people at 24 knowledge bases",
        "MIT",
        f"{_GITHUB}RasaHQ/STAR",
        Answers.PEOPLE,
    ),
    Source(
        "taskmaster",
        "Taskmaster-4: coffee orders with API calls; human rewards on answers of models in -3 and -4",
        "CC-BY-4.0",
        f"{_GITHUB}google-research-datasets/Taskmaster",
        Answers.PEOPLE,
        reads_candidates=True,
    ),
    Source(
        "seal_tools",
        "Seal-Tools: self-instructed queries with parallel and nested calls",
        "Apache-2.0",
        f"{_GITHUB}fairyshine/Seal-Tools",
        Answers.CLOSED_MODELS,
    ),
    Source(
        "apibank",
        "API-Bank, levels 1 and 2: dialogues with 73 APIs",
        "Apache-2.0",
        f"{_GITHUB}AlibabaResearch/DAMO-ConvAI",
        Answers.PEOPLE,
    ),
    Source(
        "hammer_tests",
        "Hammer's test files from API-Bank, Seal-Tools and ToolAlpaca",
        "Apache-2.0",
        f"{_GITHUB}MadeAgents/Hammer",
        Answers.MIXED_MODELS,
        _BENCHMARK,
    ),
    Source(
        "toolalpaca",
        "ToolAlpaca: instructions for public APIs, and judged runs of its own (open) agents",
        "Apache-2.0",
        f"{_GITHUB}tangqiaoyu/ToolAlpaca",
        Answers.MIXED_MODELS,
        reads_candidates=True,
    ),
    Source(
        "glaive",
        "Glaive in ShareGPT's form, from LLaMA-Factory",
        "Apache-2.0",
        f"{_GITHUB}hiyouga/LLaMA-Factory",
        Answers.UNKNOWN,
    ),
    Source(
        "glaive_v2",
        "glaive-function-calling-v2: 113 thousand dialogues",
        "Apache-2.0",
        f"{_HUB}glaiveai/glaive-function-calling-v2",
        Answers.UNKNOWN,
    ),
    Source(
        "hermes",
        "Hermes function-calling v1",
        "Apache-2.0",
        f"{_HUB}NousResearch/hermes-function-calling-v1",
        Answers.UNKNOWN,
    ),
    Source(
        "xlam",
        "xlam-function-calling-60k (APIGen)",
        "CC-BY-4.0",
        f"{_HUB}Salesforce/xlam-function-calling-60k",
        Answers.OPEN_MODELS,
    ),
    Source(
        "xlam_irrelevance",
        "xlam-irrelevance-7.5k: the right tool is not on offer",
        "CC-BY-4.0",
        f"{_HUB}MadeAgents/xlam-irrelevance-7.5k",
        Answers.PROGRAMS,
    ),
    Source(
        "apigen_mt",
        "APIGen-MT-5k: shop and airline agents with a policy",
        "CC-BY-NC-4.0",
        f"{_HUB}Salesforce/APIGen-MT-5k",
        Answers.MIXED_MODELS,
        _NON_COMMERCIAL,
    ),
    Source(
        "button",
        "BUTTONInstruct: composed tasks over several calls",
        NO_LICENCE,
        f"{_GITHUB}PKU-Baichuan-MLSystemLab/BUTTON",
        Answers.CLOSED_MODELS,
        _NOT_STATED,
    ),
    Source(
        "complexfuncbench",
        "ComplexFuncBench: travel requests in several steps",
        "Apache-2.0",
        f"{_HUB}THUDM/ComplexFuncBench",
        Answers.PEOPLE,
    ),
    Source(
        "acebench",
        "ACEBench, English and Chinese",
        "MIT",
        f"{_GITHUB}chenchen0103/ACEBench",
        Answers.PEOPLE,
        _BENCHMARK,
    ),
    Source(
        "nexusraven",
        "NexusRaven's queries on security tools and public APIs",
        "CC-BY-NC-4.0",
        f"{_GITHUB}nexusflowai/NexusRaven",
        Answers.PEOPLE,
        _NON_COMMERCIAL,
    ),
    Source(
        "rotbench",
        "RoTBench's questions under five levels of noise in tool and parameter names",
        "Apache-2.0",
        f"{_GITHUB}Junjie-Ye/RoTBench",
        Answers.PEOPLE,
        _BENCHMARK,
    ),
    Source(
        "toolbench",
        "ToolBench: ChatGPT's searches that found an answer",
        "Apache-2.0",
        f"{_GITHUB}OpenBMB/ToolBench",
        Answers.CLOSED_MODELS,
    ),
    Source(
        "stabletoolbench",
        "StableToolBench: 765 solvable queries, and runs of ChatGPT with a judge's votes",
        "Apache-2.0",
        f"{_GITHUB}THUNLP-MT/StableToolBench",
        Answers.CLOSED_MODELS,
        "the queries have no reference answers, and the runs are of a closed model",
        reads_candidates=True,
    ),
    Source(
        "tooleyes",
        "ToolEyes: real requests in seven scenarios",
        "Apache-2.0",
        f"{_GITHUB}Junjie-Ye/ToolEyes",
        Answers.UNKNOWN,
        _NO_REFERENCE,
    ),
    Source(
        "toolrm_train_data",
        "ToolRM-train-data (paper A's release): 459 thousand right and wrong calls",
        "Apache-2.0",
        f"{_HUB}ibm-research/ToolRM-train-data",
        Answers.OPEN_MODELS,
        reads_tasks=False,
        reads_candidates=True,
    ),
    Source(
        "toolpref",
        "ToolPref-Pairwise-30K (paper B's release)",
        "CC-BY-NC-SA-4.0",
        f"{_HUB}RioLee/ToolPref-Pairwise-30K",
        Answers.MIXED_MODELS,
        _NON_COMMERCIAL,
        reads_tasks=False,
        reads_candidates=True,
    ),
    Source(
        "own",
        "your own dialogues with calls, in OpenAI's form",
        "LicenseRef-own",
        "https://platform.openai.com/docs/guides/function-calling",
        Answers.UNKNOWN,
    ),
)

SOURCES: Mapping[str, Source] = MappingProxyType({item.name: item for item in _ALL})
"""All sources by name."""
