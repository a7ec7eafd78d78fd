"""Judges behind HTTP: choices are read as written, kept at once, and a server that dies is an error, not a score."""

import contextlib
import http.server
import json
import threading

import numpy as np
import pytest

from tests.evals.making import group
from toolrm_jax.data.chat import EncodedGroup
from toolrm_jax.errors import ModelError
from toolrm_jax.evals import served
from toolrm_jax.evals.choice_prompt import choice_prompt, read_choice
from toolrm_jax.evals.pairwise import Question, ask

GROUPS = [group(city, ["Ulm"], [city]) for city in ("Bonn", "Gera", "Hof", "Jena")]


@contextlib.contextmanager
def chat_server(answer):
    """An OpenAI-compatible server; `answer(prompt, count)` gives a text, or an HTTP status."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            found = answer(body["messages"][0]["content"], len(asked))
            status = found if isinstance(found, int) else 200
            text = json.dumps({"choices": [{"message": {"content": found}}]}) if status == 200 else "no"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def prefers_ulm(prompt, count):
    first = prompt.index("Ulm", prompt.index("<response_1>")) < prompt.index("<response_2>")
    return f"<evaluation>Ulm was asked for.</evaluation>\n<choice>\n{1 if first else 2}\n</choice>"


def test_a_language_model_is_asked_in_both_orders_and_answers_are_asked_for_once(tmp_path):
    with chat_server(prefers_ulm) as (url, asked):
        judge = served.chat_judge(url, "judge-7b", tmp_path / "choices.jsonl")
        found = ask(judge, GROUPS)
        assert [credit.value for credit in found.both] == [1.0] * 4
        assert found.unreadable == 0
        assert len(asked) == 8
        again = ask(served.chat_judge(url, "judge-7b", tmp_path / "choices.jsonl"), GROUPS)
        assert again == found
        assert len(asked) == 8


def test_a_server_that_dies_is_an_error_and_what_it_said_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(served, "FIRST_WAIT", 0.001)
    with chat_server(lambda prompt, count: prefers_ulm(prompt, count) if count <= 3 else 500) as (url, asked):
        judge = served.chat_judge(url, "judge-7b", tmp_path / "choices.jsonl", parallel=1)
        with pytest.raises(ModelError, match=r"answers 500 \(no\); nothing was scored"):
            ask(judge, GROUPS)
        assert len(asked) == 3 + 1 + served.RETRIES
    kept = [json.loads(line) for line in (tmp_path / "choices.jsonl").read_text().splitlines()]
    assert [row["choice"] for row in kept] == [1, 2, 1]


def test_nobody_listening_is_the_same_error(tmp_path, monkeypatch):
    monkeypatch.setattr(served, "FIRST_WAIT", 0.001)
    with chat_server(prefers_ulm) as (url, _):
        pass
    with pytest.raises(ModelError, match="no answer"):
        ask(served.chat_judge(url, "m", tmp_path / "choices.jsonl"), GROUPS)


def test_a_refusal_that_will_not_pass_is_not_tried_again(tmp_path):
    with chat_server(lambda prompt, count: 404) as (url, asked):
        with pytest.raises(ModelError, match="answers 404"):
            ask(served.chat_judge(url, "m", tmp_path / "c.jsonl", parallel=1), GROUPS)
        assert len(asked) == 1


def test_a_journal_whose_last_line_a_kill_cut_short_is_read_up_to_it(tmp_path):
    file = tmp_path / "choices.jsonl"
    file.write_text('{"key": "a", "choice": 1, "text": ""}\n{"key": "b", "cho')
    journal = served.ChoiceJournal(file)
    assert "a" in journal
    assert "b" not in journal
    journal.add("b", None, "no choice")
    assert served.ChoiceJournal(file)["b"] is None


@pytest.mark.parametrize(
    ("text", "last", "first"),
    [
        ("<evaluation>x</evaluation>\n<choice>\n1\n</choice>", 1, 1),
        ("<choice>\n2\n</choice> no, <choice>\n1\n</choice>", 1, 2),
        ("<think>maybe <choice>\n2\n</choice></think><choice>\n1\n</choice>", 1, 2),
        ("<think>cut <choice>\n2\n</choice>", 2, 2),
        ("<choice>2</choice>", 2, 2),
        ("<choice>\n3\n</choice>", None, None),
        ("the first is better", None, None),
        ("", None, None),
    ],
)
def test_a_choice_is_read_by_either_rule(text, last, first):
    assert read_choice(text) == last
    assert read_choice(text, first=True) == first


def test_the_prompt_shows_tools_conversation_both_answers_and_the_form():
    one = GROUPS[0]
    prompt = choice_prompt(Question("", one.task.context, one.candidates[0], one.candidates[1]))
    places = [prompt.index(part) for part in ('"weather"', "[user]\nWeather in Ulm?", "<response_1>", "<response_2>")]
    assert places == sorted(places)
    assert '"city": "Ulm"' in prompt.partition("<response_2>")[0]
    assert prompt.endswith("<choice>\n1 or 2\n</choice>")


class Letters:
    """A chat whose tokens are lengths: enough to see which rows are sent."""

    def encode_group(self, context, candidates, id):
        answers = tuple(np.array([len(c.calls[0].arguments["city"]), 9]) for c in candidates)
        return EncodedGroup(np.array([7, 8]), answers)


def test_a_scalar_server_gets_context_and_answer_and_its_scores_go_back_to_their_groups():
    sent = []

    def send(rows):
        sent.extend(rows)
        return [float(row[2]) for row in rows]

    judge = served.served_judge("server", send, Letters())
    assert judge.score([group("a", ["Ulm"], ["Bonn", "Jena1"]), group("b", ["Aachen"], ["X"])]) == [[3, 4, 5], [6, 1]]
    assert sent[0] == [7, 8, 3, 9]


def test_what_a_scalar_server_does_not_give_is_never_a_score():
    def send(rows):
        raise ModelError("http://x/classify: answers 503")

    with pytest.raises(ModelError, match="503"):
        served.served_judge("server", send, Letters()).score(GROUPS)
