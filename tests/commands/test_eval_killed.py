"""`toolrm eval` killed without warning, and given again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

from tests.converters.engine_stand_in import serving
from toolrm_jax.cli import main
from toolrm_jax.commands.eval_benchmark import SCORES
from toolrm_jax.evals.results import load

GROUPS, KEPT = 40, 16
"""Groups of two answers; of a server's, so many are kept on disk at a time."""


def test_an_evaluation_that_was_killed_asks_again_only_for_what_is_not_on_disk(finished, pairs, tmp_path):
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps(rows[k % 2] | {"id": f"simple_python_{k}"}) + "\n" for k in range(GROUPS)))
    output, other = tmp_path / "out", tmp_path / "other"
    words = ["eval", f"model={finished / 'model'}", f"benchmark=fc-rewardbench:{many}", "server=sglang"]
    going_on = threading.Event()

    def score(row):
        if any((output / SCORES).glob("*.json")):
            going_on.wait()  # the first piece is on disk: from here on nothing is answered until the kill
        return float(len(row))

    with serving("sglang", score) as (url, seen):
        here = [*words, f"url={url}", f"output={output}"]
        process = subprocess.Popen([sys.executable, "-m", "toolrm_jax", *here], stdout=subprocess.DEVNULL)
        while not any((output / SCORES).glob("*.json")):
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        going_on.set()
        assert not (output / "results.json").exists()
        (kept,) = (output / SCORES).glob("*.json")
        assert len(json.loads(kept.read_text())) == KEPT
        asked = [sum(seen)]
        for again in ([*words, f"url={url}", f"output={other}"], here):
            assert main(again) == 0
            asked.append(sum(seen) - sum(asked))
    assert asked[1] - asked[2] == 2 * KEPT  # of the whole, what was kept was not asked again
    whole, resumed = (load(folder).judged[0].results[0] for folder in (other, output))
    assert resumed == whole
