"""Where a process and all that it starts spend their CPU time; Python imports this by its name from PYTHONPATH.

Every STEP seconds of CPU time the stack of the main thread is counted, which costs about a hundredth. At its end each
process writes a JSON file to the folder named in TOOLRM_SAMPLES: per function its own samples, and those in which it
stands anywhere.
"""

import atexit
import collections
import json
import os
import signal
from pathlib import Path

STEP = 0.005
own: collections.Counter[str] = collections.Counter()
within: collections.Counter[str] = collections.Counter()


def _sample(signum, frame) -> None:
    stack = []
    while frame is not None:
        code = frame.f_code
        stack.append(f"{'/'.join(code.co_filename.rsplit('/', 2)[1:])} {code.co_qualname}")
        frame = frame.f_back
    own[stack[0]] += 1
    within.update(set(stack))


def _write(folder: str) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    Path(folder, f"{os.getpid()}.json").write_text(json.dumps({"own": own, "within": within}))


if folder := os.environ.get("TOOLRM_SAMPLES"):
    signal.signal(signal.SIGPROF, _sample)
    signal.setitimer(signal.ITIMER_PROF, STEP, STEP)
    atexit.register(_write, folder)
