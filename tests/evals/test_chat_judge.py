"""A language model that compares: choices are read as written, kept at once, and a server that dies is an error."""

import json

import pytest

from tests.evals.chat_stand_in import chat_server
from tests.evals.making import group
from toolrm_jax.errors import ConfigError, ModelError
from toolrm_jax.evals import chat_judge
from toolrm_jax.evals.choice_prompt import choice_prompt, read_choice
from toolrm_jax.evals.pairwise import UNREAD, Question, Tally, ask

GROUPS = [group(city, ["Ulm"], [city]) for city in ("Bonn", "Gera", "Hof", "Jena")]


def prefers_ulm(prompt, count):
    first = prompt.index("Ulm", prompt.index("<response_1>")) < prompt.index("<response_2>")
    return f"<evaluation>Ulm was asked for.</evaluation>\n<choice>\n{1 if first else 2}\n</choice>"


def test_a_language_model_is_asked_in_both_orders_and_answers_are_asked_for_once(tmp_path):
    with chat_server(prefers_ulm) as (url, asked):
        judge = chat_judge.chat_judge(url, "judge-7b", tmp_path / "choices.jsonl")
        found = ask(judge, GROUPS)
        assert [credit.value for credit in found.both] == [1.0] * 4
        assert found.tally == Tally(questions=8, no_choice=0, unread=0)
        assert len(asked) == 8
        again = ask(chat_judge.chat_judge(url, "judge-7b", tmp_path / "choices.jsonl"), GROUPS)
        assert again == found
        assert len(asked) == 8


def test_a_server_that_dies_is_an_error_and_what_it_said_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(chat_judge, "FIRST_WAIT", 0.001)
    with chat_server(lambda prompt, count: prefers_ulm(prompt, count) if count <= 3 else 500) as (url, asked):
        judge = chat_judge.chat_judge(url, "judge-7b", tmp_path / "choices.jsonl", parallel=1)
        with pytest.raises(ModelError, match=r"answers 500 \(no\); nothing was scored"):
            ask(judge, GROUPS)
        assert len(asked) == 3 + 1 + chat_judge.RETRIES
    kept = [json.loads(line) for line in (tmp_path / "choices.jsonl").read_text().splitlines()]
    assert [row["choice"] for row in kept] == [1, 2, 1]


def test_nobody_listening_is_the_same_error(tmp_path, monkeypatch):
    monkeypatch.setattr(chat_judge, "FIRST_WAIT", 0.001)
    with chat_server(prefers_ulm) as (url, _):
        pass
    with pytest.raises(ModelError, match="no answer"):
        ask(chat_judge.chat_judge(url, "m", tmp_path / "choices.jsonl"), GROUPS)


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks_but_not_for_ever(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(chat_judge.time, "sleep", waits.append)
    told = {1: "7", 2: "100000", 3: "soon"}

    def busy(prompt, count):
        return (429, "slow down", ("Retry-After", told[count])) if count in told else prefers_ulm(prompt, count)

    with chat_server(busy) as (url, _):
        ask(chat_judge.chat_judge(url, "m", tmp_path / "c.jsonl", parallel=1), GROUPS[:1])
    assert waits == [7.0, chat_judge.LONGEST_WAIT, 4 * chat_judge.FIRST_WAIT]


def test_a_server_that_breaks_off_in_the_middle_of_a_refusal_has_refused(tmp_path):
    short = chat_server(lambda prompt, count: (404, "no", ("Content-Length", "999")))
    with short as (url, _), pytest.raises(ModelError, match="answers 404"):
        ask(chat_judge.chat_judge(url, "m", tmp_path / "c.jsonl", parallel=1), GROUPS)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "judge"])
def test_what_is_no_address_is_told_at_once(url, tmp_path):
    with pytest.raises(ConfigError, match="give http://HOST:PORT/v1"):
        ask(chat_judge.chat_judge(url, "m", tmp_path / "c.jsonl"), GROUPS)
    with pytest.raises(ConfigError, match="give http://HOST:PORT/v1"):
        chat_judge.served_model(url, "m")


def test_a_refusal_that_will_not_pass_is_not_tried_again(tmp_path):
    with chat_server(lambda prompt, count: 404) as (url, asked):
        with pytest.raises(ModelError, match="answers 404"):
            ask(chat_judge.chat_judge(url, "m", tmp_path / "c.jsonl", parallel=1), GROUPS)
        assert len(asked) == 1


TOO_LONG = (
    '{"object": "error", "message": "This model\'s maximum context length is 8192 tokens. However, you sent 9000"}',
    '{"error": {"code": "context_length_exceeded"}}',
    "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    "Requested token count exceeds the model's maximum context length of 8192 tokens.",
    "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
    "the request exceeds the available context size. try increasing the context size",
)


@pytest.mark.parametrize("said", TOO_LONG)
def test_a_prompt_that_is_too_long_is_unread_kept_as_such_and_the_others_are_asked(tmp_path, said):
    def answer(prompt, count):
        return (400, said) if "Gera" in prompt else prefers_ulm(prompt, count)

    with chat_server(answer) as (url, asked):
        found = ask(chat_judge.chat_judge(url, "m", tmp_path / "c.jsonl"), GROUPS)
        assert [credit.value for credit in found.both] == [1.0, 0.0, 1.0, 1.0]
        assert found.tally == Tally(questions=8, no_choice=0, unread=2)
        assert ask(chat_judge.chat_judge(url, "m", tmp_path / "c.jsonl"), GROUPS) == found
        assert len(asked) == 8
    kept = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert [row["choice"] for row in kept].count(UNREAD) == 2
    assert all("answers 400" in row["text"] for row in kept if row["choice"] == UNREAD)


def test_a_refusal_for_another_reason_is_no_prompt_that_is_too_long(tmp_path):
    said = "temperature must be positive"
    with chat_server(lambda prompt, count: (400, said)) as (url, _), pytest.raises(ModelError, match=said):
        ask(chat_judge.chat_judge(url, "m", tmp_path / "c.jsonl"), GROUPS)


def test_what_a_server_says_of_its_model_is_known_and_one_that_says_nothing_is_let_be():
    entry = {"id": "m", "root": "runs/a", "max_model_len": 8192, "created": 1763}
    with chat_server(prefers_ulm, [{"id": "other", "root": "x"}, entry]) as (url, _):
        told = chat_judge.served_model(url, "m")
        assert told == {"id": "m", "root": "runs/a", "max_model_len": 8192}  # not when it was started
    with chat_server(prefers_ulm) as (url, _):
        assert chat_judge.served_model(url, "m") == {}


def test_a_journal_whose_last_line_a_kill_cut_short_is_read_up_to_it(tmp_path):
    file = tmp_path / "choices.jsonl"
    file.write_text('{"key": "a", "choice": 1, "text": ""}\n{"key": "b", "cho')
    journal = chat_judge.ChoiceJournal(file)
    assert "a" in journal
    assert "b" not in journal
    journal.add("b", None, "no choice")
    assert chat_judge.ChoiceJournal(file)["b"] is None


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
