"""The inside of a limited process that runs BFCL's multi-turn checker; `multi_turn.verdicts` starts it.

BFCL's checker evaluates calls as Python. What it is given here was built by us from parsed calls: the name of a tool on
offer and literals, no text of a model's own. The process still has no files to write, no children, and bounded memory
and time, so that whatever gets through ends here. One JSON object a line comes in, one verdict a line goes out.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from typing import Any

MEMORY = 4 << 30
SECONDS_A_RUN = 20
CPU_SECONDS = 3600


class TooLong(BaseException):
    """The time of one run is over. No Exception: the checker catches those of the calls it evaluates."""


def main() -> None:
    """Check every line of the standard input."""
    out, sys.stdout = sys.stdout, sys.stderr  # what a tool prints is no verdict
    from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_checker, multi_turn_utils

    _limit()
    signal.signal(signal.SIGALRM, _stop)
    for number, line in enumerate(sys.stdin):
        asked = json.loads(line)
        before = set(vars(multi_turn_utils))
        signal.alarm(SECONDS_A_RUN)
        try:
            found = _check(multi_turn_checker.multi_turn_checker, asked, f"run{number}")
        except TooLong:
            found = {"valid": False, "error_type": "multi_turn:timed_out", "error_message": f"{SECONDS_A_RUN} s"}
        except Exception as error:  # any fault of the checker on a model's calls is a verdict, not an end
            label = "multi_turn:checker_failed"
            found = {"valid": False, "error_type": label, "error_message": f"{type(error).__name__}: {error}"}
        finally:
            signal.alarm(0)
        for name in set(vars(multi_turn_utils)) - before:  # the checker keeps every run's state as a global
            delattr(multi_turn_utils, name)
        print(json.dumps({"valid": bool(found["valid"]), **_told(found)}), file=out, flush=True)


def _check(checker: Any, asked: dict[str, Any], name: str) -> dict[str, Any]:
    return checker(asked["turns"], asked["truth"], asked["question"], asked["question"]["id"], name)


def _told(found: dict[str, Any]) -> dict[str, Any]:
    message = found.get("error_message", "")
    return {"label": found.get("error_type", ""), "message": str(message)[:200]}


def _limit() -> None:
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, CPU_SECONDS),
    ):
        resource.setrlimit(what, (most, most))


def _stop(signum: int, frame: Any) -> None:
    raise TooLong


if __name__ == "__main__":
    main()
