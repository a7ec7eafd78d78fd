"""One function over many units of work: in this process, in several of this machine, or on a Ray cluster.

The units do not know of each other and each writes its own files, so it does not matter who does which, or twice.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool

from toolrm_jax.errors import ConfigError, DataError

Work = Callable[..., None]


def run_all(work: Work, units: Sequence[tuple], workers: int = 1, cluster: bool = False) -> None:
    """Call `work(*unit)` for every unit, in order with one worker, otherwise in any. Arguments are pickled.

    The first exception is raised once the units under way are done. Workers end when this process is gone, however
    it went. `cluster`: on Ray's workers, which must see the same files under the same paths.
    """
    if workers < 1:
        raise ConfigError(f"workers={workers}: give at least 1")
    if cluster:
        _on_ray(work, units)
    elif workers == 1 or len(units) < 2:
        for unit in units:
            work(*unit)
    else:
        _in_processes(work, units, workers)


def _in_processes(work: Work, units: Sequence[tuple], workers: int) -> None:
    # Spawned, not forked: the writer's threads would not survive a fork.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        min(workers, len(units)), context, initializer=_end_with, initargs=(os.getpid(),)
    ) as pool:
        futures = [pool.submit(work, *unit) for unit in units]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BrokenProcessPool:
            raise DataError(
                "a worker process was killed, perhaps for memory; run again to go on, with fewer workers"
            ) from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone; a killed parent cannot tell its children."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_ray(work: Work, units: Sequence[tuple]) -> None:
    try:
        import ray
    except ImportError:
        raise ConfigError("a cluster needs Ray; install the extra: pip install 'toolrm_jax[ray]'") from None

    def one(row: dict) -> dict:
        work(*units[row["unit"]])
        return row

    data = ray.data.from_items([{"unit": number} for number in range(len(units))], override_num_blocks=len(units))
    done = sum(1 for _ in data.map(one).iter_rows())  # `count()` would not run it: a map changes no count
    assert done == len(units)
