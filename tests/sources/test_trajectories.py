"""Trajectories into tasks: what is joined, where it is cut, and why a cut is dropped (method.md 3.1)."""

import dataclasses
import json

import pytest

from toolrm_jax.sources.drops import (
    BAD_ARGUMENTS,
    BAD_CALL,
    FAILED_RESULT,
    REPEATED_CALL,
    ROLE_ORDER,
    UNKNOWN_TOOL,
    Drops,
    Unfit,
)
from toolrm_jax.sources.trajectories import Transcript, check_calls, reports_failure, segments
from toolrm_jax.toolcalls.schema import violations
from toolrm_jax.toolcalls.types import Call, Message, Reference, Stale, Task, Tool

TOOLS = (
    Tool(
        "find",
        "",
        {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}, "count": {"type": "integer"}},
            "required": ["city"],
        },
    ),
    Tool("book", "", {"type": "object", "properties": {"id": {"type": "string"}}}),
)
FIND = Call("find", {"city": "Rome"})


def cut(said, drops=None):
    drops = Drops() if drops is None else drops
    return list(segments(said.finish("t", "s", "c", "l", TOOLS), drops)), drops


def dialogue(call=FIND, result='{"id": "1"}'):
    said = Transcript()
    said.system("Be kind.")
    said.user("A room in Rome.")
    said.assistant("", (call,))
    said.result(result, "find")
    said.assistant("Room 1 is free.")
    return said


def test_every_assistant_message_is_a_task_with_all_before_it_as_context():
    tasks, drops = cut(dialogue())
    messages = (
        Message("system", "Be kind."),
        Message("user", "A room in Rome."),
        Message("assistant", "", (FIND,)),
        Message("tool", '{"id": "1"}', (), "find"),
    )
    assert [task.context.messages for task in tasks] == [messages[:2], messages[:4]]
    assert [task.reference for task in tasks] == [Reference((FIND,)), Reference(text="Room 1 is free.")]
    assert [task.id for task in tasks] == ["t/2", "t/4"]
    assert drops.total == 0


def test_what_one_side_says_in_pieces_is_one_message():
    said = Transcript()
    said.user("A room")
    said.user("in Rome.")
    said.assistant("Let me see.")
    said.assistant("", (FIND,))
    said.assistant("", (Call("book", {}),))
    assert said.messages == [
        Message("user", "A room\nin Rome."),
        Message("assistant", "Let me see.", (FIND, Call("book", {}))),
    ]


def test_a_greeting_before_the_user_speaks_is_context_and_no_task():
    said = Transcript()
    said.assistant("Welcome!")
    said.user("Hi")
    said.assistant("What can I do?")
    tasks, drops = cut(said)
    assert [task.id for task in tasks] == ["t/2"]
    assert tasks[0].context.messages[0].content == "Welcome!"
    assert drops.total == 0


@pytest.mark.parametrize(
    "speak",
    [
        lambda said: said.result("x"),
        lambda said: (said.user("a"), said.system("b")),
        lambda said: (said.user("a"), said.assistant("", (FIND,)), said.user("b")),
        lambda said: (said.user("a"), said.assistant("", (FIND,)), said.assistant("b")),
        lambda said: (said.user("a"), said.result("x")),
    ],
)
def test_roles_out_of_order_are_refused(speak):
    with pytest.raises(Unfit) as fault:
        speak(Transcript())
    assert fault.value.reason == ROLE_ORDER


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (Call("fly", {}), UNKNOWN_TOOL),
        (Call("find", {}), BAD_ARGUMENTS),
        (Call("find", {"city": "Paris"}), BAD_ARGUMENTS),
        (Call("find", {"city": "Rome", "stars": 3}), BAD_ARGUMENTS),
        (Call("find", {"city": "Rome", "count": "2"}), BAD_ARGUMENTS),
        (Call("find", {"city": "Rome", "count": True}), BAD_ARGUMENTS),
    ],
)
def test_a_call_that_the_tools_do_not_allow_is_dropped_and_the_rest_of_the_dialogue_stays(call, reason):
    tasks, drops = cut(dialogue(call))
    assert [task.id for task in tasks] == ["t/4"]
    assert drops.counts == {reason: 1}


def test_a_repeated_call_is_dropped():
    with pytest.raises(Unfit) as fault:
        check_calls(TOOLS, (FIND, Call("book", {}), FIND))
    assert fault.value.reason == REPEATED_CALL


def test_a_message_whose_calls_are_malformed_is_dropped():
    said = Transcript()
    said.user("A room.")
    said.assistant('{"name": find}', (), "not JSON")
    said.result("bad call")
    said.assistant("Sorry.")
    tasks, drops = cut(said)
    assert [task.reference.text for task in tasks] == ["Sorry."]
    assert drops.counts == {BAD_CALL: 1}
    assert drops.first == {BAD_CALL: "t/1: not JSON"}


def test_a_call_whose_result_reports_failure_is_dropped_but_what_follows_is_not():
    tasks, drops = cut(dialogue(result='{"error": "no such city"}'))
    assert [task.id for task in tasks] == ["t/4"]
    assert drops.counts == {FAILED_RESULT: 1}


@pytest.mark.parametrize(
    ("content", "failed"),
    [
        ('{"error": "no such city"}', True),
        ('{"error": "", "response": "fine"}', False),
        ('{"error": null, "data": 1}', False),
        ('{"exception": {"kind": "KeyError"}}', True),
        ('{"success": false}', True),
        ('{"success": true, "note": "no error"}', False),
        ('{"status": "failed"}', True),
        ('{"status": "success", "failed_logins": 0}', False),
        ('{"status_code": 404}', True),
        ('{"code": 200, "errors": []}', False),
        ('{"result": {"status": "error"}}', True),
        ("Error: no such file", True),
        ("Parameter type error: got 3", False),
        ("ValueError: bad", True),
        ("Traceback (most recent call last)", True),
        ("The flight failed to arrive on time.", False),
        ("[]", False),
        ("", False),
        ('{"broken": ', False),
    ],
)
def test_which_results_report_failure(content, failed):
    assert reports_failure(content) == failed


def test_the_quick_check_and_the_schema_agree():
    values = ["Rome", "Paris", 1, 1.0, True, None, [1], {"a": 1}]
    for city in values:
        for count in values:
            call = Call("find", {"city": city, "count": count})
            try:
                check_calls(TOOLS, (call,))
                fits = True
            except Unfit:
                fits = False
            assert fits == (violations(TOOLS, call) == []), call


def test_stale_values_survive_json_and_old_json_has_none():
    tasks, _ = cut(dialogue())

    task = dataclasses.replace(tasks[0], stale=(Stale(0, "city", "Oslo"),))
    written = json.loads(json.dumps(task.to_json()))
    assert Task.from_json(written) == task
    assert "stale" not in tasks[0].to_json()
