"""The live table of `toolrm synth`."""

from __future__ import annotations

import io

from toolrm_jax.commands.synth_models import Entry
from toolrm_jax.commands.synth_table import Progress, Table, aligned
from toolrm_jax.synth.grade import reader
from toolrm_jax.synth.http_sampler import HttpSampler
from toolrm_jax.synth.protocol import Answer, Outcome, Prompt, Sampling, requests
from toolrm_jax.synth.recorded import RecordedSampler
from toolrm_jax.synth.servers import Server
from toolrm_jax.synth.wire import WAYS, chat_prompt


class Terminal(io.StringIO):
    def isatty(self):
        return True


def progress():
    servers = [Server("http://a", 4), Server("http://b", 4)]
    sampler = HttpSampler("m", servers, WAYS["chat"]())
    tasks = [None] * 5
    entries = [
        Entry("m", "m", "chat at 2 servers", sampler, Sampling(), 4, tasks, chat_prompt, reader("openai")),
        Entry("r", "r", "recorded", RecordedSampler({}), Sampling(), 1, tasks, chat_prompt, reader("openai")),
    ]
    found = Progress(entries, [7, 8], done_before=3)
    every = requests(Prompt(ids=(1,)), "m", Sampling(), range(4))
    for request, url in zip(every, ("http://a", "http://a", "http://b")):
        found.add(7, Outcome("t", request, Answer("x", "stop", tokens=10, server=url)))
    found.add(8, Outcome("t", every[3], None, "not recorded"))
    servers[0].under_way, servers[0].answered = 2, True
    servers[1].failed, servers[1].aside, servers[1].said = 1, True, "cannot connect"
    return found


def test_every_server_has_a_line_with_what_it_has_done():
    rows = progress().rows()
    assert [row[:5] for row in rows] == [
        ("m", "http://a", "2", "2", "0"),
        ("m", "http://b", "0", "1", "1"),
        ("r", "", "", "0", "1"),
    ]
    assert [row[6] for row in rows] == ["answers", "aside: cannot connect", "recorded"]
    assert int(rows[0][5].replace(",", "")) > 0


def test_what_earlier_runs_did_counts_but_not_for_the_speed():
    found = progress()
    assert (found.finished, found.total) == (3 + 4, 25)
    found.began -= 100
    assert found.line().startswith("7 of 25 requests, 0.0/s, 0:07:")


def test_requests_that_need_no_asking_count_as_done_but_not_for_the_speed():
    found = progress()
    found.pass_over(18)
    assert found.finished == found.total == 25
    found.began -= 100
    assert found.line().startswith("25 of 25 requests, 0.0/s")


def test_a_terminal_is_drawn_over_and_a_file_gets_a_line_now_and_then():
    terminal, file = Terminal(), io.StringIO()
    table = Table(progress(), terminal)
    table.draw(last=True)
    assert "\x1b[5A" not in terminal.getvalue()
    table.draw(last=True)
    assert terminal.getvalue().count("\x1b[5A") == 1
    table.draw()
    assert terminal.getvalue().count("\x1b[5A") == 1, "drawn again within a second"
    table = Table(progress(), file)
    table.draw()
    assert file.getvalue() == ""
    table.draw(last=True)
    assert file.getvalue().startswith("7 of 25 requests")
    assert file.getvalue().count("\n") == 1


def test_figures_stand_to_the_right():
    assert aligned([("model", "done"), ("a", "1,000"), ("bc", "5")]) == ["model  done", "a      1,000", "bc         5"]
