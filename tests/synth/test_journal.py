"""The journal: what counts is on disk, whenever the process ends; and nothing stands in it twice."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.synth.journal import Journal, read_status
from toolrm_jax.synth.protocol import Answer, Outcome, Prompt, Sampling, requests

OPTIONS = Sampling()
WRITER = """
import os, sys
from toolrm_jax.synth.journal import Journal
from toolrm_jax.synth.protocol import Answer, Outcome, Prompt, Sampling, requests

def say(*words):  # whole lines, from two threads
    os.write(1, (" ".join(words) + "\\n").encode())

def told(plan, outcome):
    say(outcome.request.key)

with Journal(sys.argv[1], told) as journal:
    plan = journal.plan("m", Sampling(), 100000)
    for number in range(100000):
        every = requests(Prompt(ids=(number + 1,)), "m", Sampling(), range(2))
        for request in journal.missing(every):
            say("asked", request.key)
            journal.record(plan, Outcome(f"task {number}", request, Answer("x" * 200, "stop", tokens=3)))
"""


def asked(number, samples=2, model="m", options=OPTIONS):
    return requests(Prompt(ids=(number + 1,)), model, options, range(samples))


def answered(request, text="yes", task="t"):
    return Outcome(task, request, Answer(text, "stop", 5, 3, 0.25, "http://a"))


def test_what_was_recorded_comes_back_as_it_was(tmp_path):
    message = {"content": "é \ud800", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    rich = Answer("a\ud800b", "length", 7, 3, 1.5, "http://a", message, (1, 2), (-0.5, -1.25))
    with Journal(tmp_path / "j") as journal:
        plan = journal.plan("m", OPTIONS, 3)
        first, second, third = asked(0, 3)
        journal.record(plan, Outcome("t", first, rich))
        journal.record(plan, Outcome("t", third, None, "HTTP 500: \ud800"))
        journal.settle()
        assert journal.missing(asked(0, 3)) == (second,)
    with Journal(tmp_path / "j") as journal:
        found = journal.outcomes(asked(0, 3))
        assert [one.request for one in found] == [first, third]
        assert found[0].answer == rich
        assert found[1].failure == "HTTP 500: \\ud800"


def test_a_changed_option_model_prompt_or_sample_is_another_request(tmp_path):
    with Journal(tmp_path / "j") as journal:
        (request,) = asked(0, 1)
        journal.record(journal.plan("m", OPTIONS, 1), answered(request))
        journal.settle()
        assert journal.missing(asked(0, 1)) == ()
        others_options = [asked(0, 1, options=changed) for changed in (Sampling(top_p=0.9), Sampling(seed=1))]
        for others in (asked(1, 1), asked(0, 1, "n"), *others_options):
            assert journal.missing(others) == others


def test_nothing_stands_in_it_twice(tmp_path):
    with Journal(tmp_path / "j") as journal:
        plan = journal.plan("m", OPTIONS, 1)
        (request,) = asked(0, 1)
        for text in ("first", "second"):
            journal.record(plan, answered(request, text))
        journal.settle()
        assert [one.answer.text for one in journal.outcomes([request])] == ["first"]


def test_an_outcome_counts_once_it_can_be_read_by_others(tmp_path):
    seen = []

    def counted(plan, outcome):
        with sqlite3.connect(tmp_path / "j") as other:
            seen.append(
                other.execute("SELECT COUNT(*) FROM outcomes WHERE key = ?", (bytes.fromhex(outcome.request.key),))
            )
            seen[-1] = seen[-1].fetchone()[0]

    with Journal(tmp_path / "j", counted) as journal:
        plan = journal.plan("m", OPTIONS, 20)
        for number in range(10):
            for request in asked(number):
                journal.record(plan, answered(request))
        journal.settle()
    assert seen == [1] * 20


def test_a_killed_process_loses_nothing_that_counted_and_asks_nothing_twice(tmp_path):
    rng = random.Random(14)
    path = tmp_path / "j"
    counted: set[str] = set()
    begun: list[str] = []
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        lines = []
        reader = threading.Thread(target=lambda out=writer.stdout, to=lines: to.extend(out))
        reader.start()
        while len(lines) < 50:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.5))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        reader.join()
        whole = [line.split() for line in lines if line.endswith("\n")]
        again = [words[1] for words in whole if words[0] == "asked"]
        assert not counted & set(again), "a request that counted was asked again"
        begun += again
        counted |= {words[0] for words in whole if words[0] != "asked"}
        with Journal(path) as journal:
            (status,) = read_status(path)
            on_disk = status.answers
            with sqlite3.connect(path) as rows:
                keys = {key.hex() for (key,) in rows.execute("SELECT key FROM outcomes")}
            assert counted <= keys, "an outcome that counted is lost"
            assert len(keys) == on_disk
            counted = keys
            assert journal.missing(asked(0)) == ()
    assert len(counted) > 100


def test_two_runs_cannot_write_one_journal(tmp_path):
    with Journal(tmp_path / "j"), pytest.raises(ConfigError, match="another run is writing it"):
        Journal(tmp_path / "j")
    with Journal(tmp_path / "j"):
        pass


def test_failures_may_be_forgotten_and_answers_not(tmp_path):
    with Journal(tmp_path / "j") as journal:
        plan = journal.plan("m", OPTIONS, 2)
        first, second = asked(0)
        journal.record(plan, answered(first))
        journal.record(plan, Outcome("t", second, None, "HTTP 400"))
        journal.settle()
        assert journal.missing((first, second)) == ()
        assert journal.forget_failures(plan) == 1
        assert journal.missing((first, second)) == (second,)


def test_the_status_tells_each_model_and_its_reasons_while_a_run_writes(tmp_path):
    with Journal(tmp_path / "j") as journal:
        plan = journal.plan("m", OPTIONS, 8)
        other = journal.plan("n", Sampling(temperature=0.5), 2)
        for number, reason in enumerate(["a", "b", "b"]):
            journal.record(plan, Outcome("t", asked(number, 1)[0], None, reason))
        for request in asked(7):
            journal.record(plan, answered(request))
        journal.settle()
        one, two = read_status(tmp_path / "j")
        assert (one.model, one.requests, one.answers, one.failed, one.tokens, one.seconds) == ("m", 8, 2, 3, 6, 0.5)
        assert one.reasons == {"b": 2, "a": 1}
        assert (two.model, two.answers, two.options) == ("n", 0, Sampling(temperature=0.5))
        assert journal.plan("m", OPTIONS, 9) == plan != other
        assert read_status(tmp_path / "j")[0].requests == 9


def test_a_disk_that_refuses_ends_the_run_in_one_line(tmp_path):
    def full(plan, outcome):
        raise OSError("disk full")

    journal = Journal(tmp_path / "j", full)
    journal.record(journal.plan("m", OPTIONS, 1), answered(asked(0, 1)[0]))
    with pytest.raises(DataError, match=r"cannot be written .disk full."):
        journal.settle()
    with pytest.raises(DataError, match="disk full"):
        journal.close()


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be looked at" * 40])
def test_what_is_no_journal_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"no journal|written in format 0"):
        read_status(path)
    if content:
        with pytest.raises(DataError, match="no journal"):
            Journal(path)
    with pytest.raises(DataError, match="no journal there"):
        read_status(tmp_path / "absent")


def test_a_journal_of_another_format_is_left_alone(tmp_path):
    with Journal(tmp_path / "j"):
        pass
    with sqlite3.connect(tmp_path / "j") as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(DataError, match="written in format 99"):
        Journal(tmp_path / "j")
