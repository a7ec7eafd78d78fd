"""What the C library does with memory that a computation on a CPU gives back."""

from __future__ import annotations

import ctypes
import sys

# The numbers of mallopt(3) in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for the next step; without effect where the C library is not glibc.

    XLA takes the memory of a step from malloc and gives it back after it, and glibc returns such large pieces to the
    system. So each step would touch every page of them for the first time: a tenth to a third of its time.
    One arena, since only the first one can hold pieces over 64 MiB. A piece that does not fit where the last one was
    is new all the same; large pages help there, which only the environment can ask for (docs/quickstart_recipe.md).
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return
    for name, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_ARENA_MAX, 1)):
        mallopt(name, value)


def give_back_freed_memory() -> None:
    """Give the system what is free now: after work that is done once or seldom (loading, restoring, compiling).

    What `keep_freed_memory` keeps of it would lie beside what the steps need, in pieces that do not fit them.
    Without effect where the C library is not glibc.
    """
    if sys.platform.startswith("linux") and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
