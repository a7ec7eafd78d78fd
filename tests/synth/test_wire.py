"""What goes over the wire: bodies that strict servers take, and answers that are read or refused."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.synth.protocol import LENGTH, STOPPED, Answer, Prompt, Sampling, requests
from toolrm_jax.synth.wire import EXCERPT, WAYS, Malformed, chat_prompt, excerpt
from toolrm_jax.toolcalls.types import Call, Context, Message, Tool

TOOL = Tool("f", "Does.", {"type": "object", "properties": {}})
CHAT, GENERATE = WAYS["chat"](), WAYS["generate"]()


def body(way, options, samples=1):
    prompt = Prompt(ids=(4, 5)) if way is GENERATE else chat_prompt(Context((TOOL,), (Message("user", "é\ud800"),)))
    return json.loads(way.body("m", prompt, options, requests(prompt, "m", options, range(samples))))


def test_a_chat_body_holds_openais_own_fields_and_others_only_where_they_change_something():
    plain = body(CHAT, Sampling(max_tokens=9), 3)
    assert set(plain) == {"messages", "tools", "model", "temperature", "top_p", "max_tokens", "n", "seed"}
    assert (plain["n"], plain["max_tokens"], plain["messages"][0]["content"]) == (3, 9, "é\ud800")
    full = body(CHAT, Sampling(top_k=5, min_p=0.1, logprobs=True, thinking=False, stop_ids=(2,)))
    assert {name: full[name] for name in set(full) - set(plain)} == {
        "top_k": 5,
        "min_p": 0.1,
        "logprobs": True,
        "chat_template_kwargs": {"enable_thinking": False},
        "stop_token_ids": [2],
    }


def test_a_native_body_has_all_sampling_options_and_the_samples_seed():
    options = Sampling(0.5, 0.9, 0, 0.1, 7, (2, 3), logprobs=True)
    sent = body(GENERATE, options)
    (request,) = requests(Prompt(ids=(4, 5)), "m", options, [0])
    assert sent == {
        "input_ids": [4, 5],
        "return_logprob": True,
        "sampling_params": {
            "temperature": 0.5, "top_p": 0.9, "top_k": -1, "min_p": 0.1, "max_new_tokens": 7, "stop_token_ids": [2, 3],
            "sampling_seed": request.seed, "skip_special_tokens": False,
        },
    }  # fmt: skip
    assert body(GENERATE, Sampling(), 2)["sampling_params"]["n"] == 2


def test_tool_results_name_the_call_they_answer():
    calls = (Call("f", {"a": 1}), Call("g", {}))
    turns = (
        Message("user", "q"),
        Message("assistant", "", calls),
        Message("tool", "of g", name="g"),
        Message("tool", "of f", name="f"),
        Message("assistant", "", (Call("f", {}),)),
        Message("tool", "again"),
    )
    messages = json.loads(chat_prompt(Context((TOOL,), turns)).body)["messages"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call00000", "call00001"]
    assert messages[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert [messages[place]["tool_call_id"] for place in (2, 3, 5)] == ["call00001", "call00000", "call00002"]
    # The template of Mistral's models raises for any other id.
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", call["id"]) for call in messages[1]["tool_calls"])
    alone = json.loads(chat_prompt(Context((TOOL,), (Message("user", "q"), Message("tool", "late")))).body)
    assert alone["messages"][1]["tool_call_id"] == "call00000"


def test_a_context_without_tools_offers_none():
    assert "tools" not in json.loads(chat_prompt(Context((), (Message("user", "q"),))).body)


def test_a_chat_answer_keeps_the_message_as_it_came():
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm", "audio": None}
    choice = {"message": message, "finish_reason": "tool_calls", "logprobs": {"content": [{"logprob": -0.5}]}}
    (answer,) = CHAT.answers({"choices": [choice]}, Sampling(logprobs=True))
    kept = {"tool_calls": [call], "reasoning_content": "hm"}
    assert answer == Answer("", STOPPED, message=kept, logprobs=(-0.5,))
    (answer,) = CHAT.answers({"choices": [choice | {"finish_reason": "length"}]}, Sampling())
    assert answer.finish == LENGTH


@pytest.mark.parametrize(
    "payload",
    [None, [], {}, {"choices": None}, {"choices": []}, {"choices": [1]}, {"choices": [{"message": "x"}]},
     {"choices": [{"message": {"content": ["x"]}, "finish_reason": "stop"}]},
     {"choices": [{"message": {"content": "x"}, "finish_reason": "abort"}]},
     {"choices": [{"message": {"content": "x"}, "finish_reason": None}]}, {"error": {"message": "overloaded"}}],
)  # fmt: skip
def test_a_chat_answer_of_another_form_is_refused(payload):
    with pytest.raises(Malformed):
        CHAT.answers(payload, Sampling())


@pytest.mark.parametrize(
    "payload",
    [None, [], {}, 1, {"text": "x"}, {"text": 1, "meta_info": {}}, {"text": "x", "meta_info": {}},
     {"text": "x", "meta_info": {"finish_reason": {"type": "abort", "message": "killed"}}}, [[]]],
)  # fmt: skip
def test_a_native_answer_of_another_form_is_refused(payload):
    with pytest.raises(Malformed):
        GENERATE.answers(payload, Sampling())


@pytest.mark.parametrize("way", [CHAT, GENERATE])
def test_log_probabilities_that_were_asked_for_must_come(way):
    meta = {"finish_reason": {"type": "stop"}}
    payload = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "text": "x", "meta_info": meta}
    assert way.answers(payload, Sampling())
    with pytest.raises(Malformed, match="no log-probabilities"):
        way.answers(payload, Sampling(logprobs=True))


FIELDS = [
    "choices", "message", "content", "text", "meta_info", "usage", "finish_reason", "type", "output_ids", "logprobs",
    "completion_tokens",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just("stop"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_no_json_does_anything_but_be_read_or_refused(payload, logprobs):
    for way in (CHAT, GENERATE):
        found = ()
        with contextlib.suppress(Malformed):
            found = way.answers(payload, Sampling(logprobs=logprobs))
            assert found
        assert all(isinstance(answer.text, str) for answer in found)


def test_the_token_that_ended_an_answer_is_not_counted_where_it_came_back():
    meta = {"finish_reason": {"type": "stop"}, "completion_tokens": 3}
    (answer,) = GENERATE.answers({"text": "x", "output_ids": [5, 6, 2], "meta_info": meta}, Sampling(stop_ids=(2,)))
    assert (answer.ids, answer.tokens) == ((5, 6), 2)
    (answer,) = GENERATE.answers({"text": "x", "output_ids": [5, 6, 7], "meta_info": meta}, Sampling(stop_ids=(2,)))
    assert (answer.ids, answer.tokens) == ((5, 6, 7), 3)


def test_samples_that_say_the_same_are_told_whatever_ids_their_calls_bear():
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    other = call | {"id": "b"}
    one, two, three = (
        Answer("", STOPPED, message={"tool_calls": calls}) for calls in ([call], [other], [call | {"function": {}}])
    )
    assert one.words() == two.words() != three.words()
    assert Answer("x", STOPPED).words() != Answer("y", STOPPED).words()


def test_an_excerpt_is_one_short_line():
    assert excerpt("a\n b\t" + "c" * 1000) == "a b " + "c" * (EXCERPT - 4) + "…"
