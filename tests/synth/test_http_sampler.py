"""The client of any number of servers: nothing lost, nothing asked twice, and every failure with its true reason."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
from aiohttp import web

from tests.synth.stub_server import chatted, generated, obedient, serving
from toolrm_jax.errors import ConfigError, ModelError
from toolrm_jax.synth.http_sampler import HttpSampler
from toolrm_jax.synth.post import seconds_of
from toolrm_jax.synth.protocol import Asked, Prompt, Sampling, requests
from toolrm_jax.synth.servers import Patience, Server
from toolrm_jax.synth.wire import WAYS

QUICK = Patience(timeout_s=5.0, first_s=0.02, longest_s=0.1, silence_s=5.0, grace_s=1.0, attempts=4)
OPTIONS = Sampling(max_tokens=8)


def prompt(number, way):
    if way == "generate":
        return Prompt(ids=(1, 2, number))
    return Prompt(body=json.dumps({"messages": [{"role": "user", "content": f"question {number}"}]}))


def questions(count, samples, way, options=OPTIONS):
    for number in range(count):
        made = prompt(number, way)
        yield Asked(f"task {number}", made, requests(made, "m", options, range(samples)))


def run(urls, way="chat", count=5, samples=4, options=OPTIONS, patience=QUICK, at_once=4, stopped=None, **settings):
    """The outcomes by (task, sample), each of which there is one."""
    servers = [Server(url, at_once) for url in urls]
    sampler = HttpSampler("m", servers, WAYS[way](), patience, **settings)
    outcomes = []
    sampler.run(questions(count, samples, way, options), options, outcomes.append, stopped or (lambda: False))
    found = {(one.task, one.request.sample): one for one in outcomes}
    assert len(found) == len(outcomes), "an outcome came twice"
    return found


@pytest.mark.parametrize("way", ["chat", "generate"])
def test_every_sample_of_every_context_gets_one_answer(way):
    with serving() as stub:
        found = run([stub.url], way)
    assert set(found) == {(f"task {n}", s) for n in range(5) for s in range(4)}
    assert all(one.answer.text.startswith("sample ") for one in found.values())
    assert len({one.answer.text for one in found.values()}) == 20
    assert {one.answer.server for one in found.values()} == {stub.url}


def test_a_chat_request_asks_for_all_samples_and_native_ones_bear_the_seed_of_their_request():
    with serving() as stub:
        run([stub.url], "chat", count=2)
    assert [body["n"] for body in stub.bodies] == [4, 4]
    with serving() as stub:
        run([stub.url], "generate", count=2)
    wanted = {request.seed for asked in questions(2, 4, "generate") for request in asked.requests}
    assert {body["sampling_params"]["sampling_seed"] for body in stub.bodies} == wanted
    assert len(wanted) == 8


@pytest.mark.parametrize("together", [1, 2, 3])
def test_no_request_asks_for_more_samples_than_allowed(together):
    with serving() as stub:
        assert len(run([stub.url], count=3, together=together)) == 12
    assert max(body["n"] for body in stub.bodies) == together
    assert sum(body["n"] for body in stub.bodies) == 12


def test_a_server_that_ignores_n_is_asked_for_the_rest():
    async def one_alone(body, stub):
        return web.json_response(chatted([f"sample {body['seed']}"]))

    with serving(one_alone) as stub:
        found = run([stub.url], count=3, at_once=1)
    assert len(found) == 12
    # Known after its first answer: from then on samples are asked for one by one, each with its own seed.
    assert [body["n"] for body in stub.bodies] == [4] + [1] * 11
    assert len({one.answer.text for one in found.values()}) == 12


def test_a_server_that_gives_more_than_asked_adds_nothing():
    async def too_many(body, stub):
        return web.json_response(chatted(["a"] * (body["n"] + 3)))

    with serving(too_many) as stub:
        assert len(run([stub.url], count=3)) == 12


def test_tokens_of_a_chat_answer_add_up_to_what_the_server_counted():
    async def counted(body, stub):
        return web.json_response(chatted(["a"] * 4) | {"usage": {"prompt_tokens": 5, "completion_tokens": 11}})

    with serving(counted) as stub:
        found = run([stub.url], count=1)
    assert sorted(one.answer.tokens for one in found.values()) == [2, 3, 3, 3]


def test_the_token_that_ended_an_answer_is_no_part_of_it():
    async def with_scores(body, stub):
        answer = generated("x")
        answer["meta_info"]["output_token_logprobs"] = [[-0.5, 5, None], [-0.25, 6, None], [-0.1, 2, None]]
        return web.json_response(answer)

    options = Sampling(stop_ids=(2,), logprobs=True)
    with serving(with_scores) as stub:
        found = run([stub.url], "generate", count=1, samples=1, options=options)
    assert stub.bodies[0]["sampling_params"]["stop_token_ids"] == [2]
    answer = found["task 0", 0].answer
    assert (answer.ids, answer.logprobs) == ((5, 6), (-0.5, -0.25))


def test_no_server_has_more_requests_at_once_than_allowed_and_contexts_are_drawn_no_faster():
    drawn = 0
    ahead = []

    async def slow(body, stub):
        ahead.append(drawn - len(stub.bodies))
        await asyncio.sleep(0.01)
        return await obedient(body, stub)

    def counted():
        nonlocal drawn
        for one in questions(50, 1, "generate"):
            drawn += 1
            yield one

    with serving(slow) as stub:
        outcomes = []
        HttpSampler("m", [Server(stub.url, 3)], WAYS["generate"](), QUICK).run(
            counted(), OPTIONS, outcomes.append, lambda: False
        )
    assert len(outcomes) == 50
    assert stub.most_at_once == 3
    assert max(ahead) <= 3


def test_servers_share_the_work_and_samples_of_a_context_stay_together():
    with serving() as one, serving() as two:
        run([one.url, two.url], "generate", count=30, at_once=2)
    assert len(one.bodies) > 10
    assert len(two.bodies) > 10
    contexts = [{tuple(body["input_ids"]) for body in stub.bodies} for stub in (one, two)]
    assert not contexts[0] & contexts[1]


def refuse_first(times, response):
    """A server that fails so often per context before it answers."""

    async def answer(body, stub):
        key = json.dumps(body.get("messages") or body["input_ids"])
        stub.counts[key] += 1
        if stub.counts[key] <= times:
            return response() if callable(response) else response
        return await obedient(body, stub)

    return answer


@pytest.mark.parametrize("status", [500, 502, 504, 408])
def test_a_passing_fault_is_tried_again(status):
    with serving(refuse_first(2, lambda: web.Response(status=status, text="boom"))) as stub:
        found = run([stub.url], count=3)
    assert all(one.answer for one in found.values())
    assert len(stub.bodies) == 9


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (lambda: web.Response(status=500, text="boom"), "4 attempts, the last: HTTP 500: boom"),
        (lambda: web.Response(text="<html>"), "4 attempts, the last: the answer is not JSON: <html>"),
        (lambda: web.json_response({"choices": []}), '4 attempts, the last: no choices in the answer: {"choices": []}'),
        (
            lambda: web.json_response(chatted(["cut"], "abort")),
            "4 attempts, the last: the answer was not ended by the model: finish reason abort",
        ),
        (lambda: web.Response(status=400, text="too long"), "HTTP 400: too long"),
    ],
)
def test_a_context_that_keeps_failing_is_recorded_with_its_reason(response, reason):
    async def answer(body, stub):
        return response() if "question 1" in json.dumps(body) else await obedient(body, stub)

    with serving(answer) as stub:
        found = run([stub.url], count=3, samples=2, at_once=1)
    assert {(key, one.failure) for key, one in found.items() if one.failure} == {
        (("task 1", 0), reason),
        (("task 1", 1), reason),
    }


def test_a_busy_server_is_left_alone_for_as_long_as_it_says_and_no_attempt_is_counted():
    times = []

    async def busy(body, stub):
        times.append(time.monotonic())
        if len(times) <= 5:
            return web.Response(status=429, headers={"Retry-After": "0.2"})
        return await obedient(body, stub)

    with serving(busy) as stub:
        found = run([stub.url], count=1, samples=1, patience=QUICK)
    assert found["task 0", 0].answer
    assert len(times) == 6
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.2


def test_a_broken_server_that_says_when_to_come_back_is_not_asked_before():
    times = []

    async def broken(body, stub):
        times.append(time.monotonic())
        if len(times) == 1:
            return web.Response(status=500, headers={"Retry-After": "0.3"})
        return await obedient(body, stub)

    with serving(broken) as stub:
        assert run([stub.url], count=1, samples=1)["task 0", 0].answer
    assert times[1] - times[0] >= 0.3


def test_retry_after_is_read_as_seconds_or_as_a_date():
    assert seconds_of("3") == 3.0
    assert seconds_of("0.5") == 0.5
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    never = f"Wed, 21 Oct {10**30} 07:28:00 GMT"
    assert [seconds_of(text) for text in (None, "", "soon", "-4", "²", never)] == [None] * 6


def test_requests_that_fail_together_are_one_failure():
    async def burst(body, stub):
        stub.counts["all"] += 1
        if stub.counts["all"] <= 32:
            while stub.counts["all"] < 32:  # all are under way before the first is told
                await asyncio.sleep(0.005)
            return web.Response(status=429)
        return await obedient(body, stub)

    patience = Patience(first_s=0.2, longest_s=60.0)
    began = time.monotonic()
    with serving(burst) as stub:
        found = run([stub.url], "generate", count=32, samples=1, at_once=32, patience=patience)
    assert all(one.answer for one in found.values())
    assert time.monotonic() - began < 5, "rested as after many failures in a row"


def test_failures_in_a_row_are_those_of_requests_sent_after_the_one_before():
    server = Server("http://a", 4)
    for began, now, failures in ((0.0, 1.0, 1), (0.5, 1.1, 1), (1.0, 2.0, 2), (1.5, 2.1, 2), (2.0, 3.0, 3)):
        server.has_failed(began, now)
        assert server.failures == failures
    server.has_answered()
    server.has_failed(2.5, 9.0)
    assert server.failures == 0


def test_what_a_busy_server_has_begun_is_done_by_another():
    async def busy(body, stub):
        return web.Response(status=429, headers={"Retry-After": "1e9" if len(stub.bodies) % 2 else str(10**9)})

    began = time.monotonic()
    with serving(busy) as one, serving() as two:
        found = run([one.url, two.url], "generate", count=4, at_once=1)
    assert time.monotonic() - began < 4
    assert len(found) == 16
    assert {one.answer.server for one in found.values()} == {two.url}


def test_a_server_is_asked_again_within_the_silence_that_is_allowed_whatever_it_says():
    async def busy(body, stub):
        if len(stub.bodies) == 1:
            return web.Response(status=429, headers={"Retry-After": "9" * 400})
        return await obedient(body, stub)

    async def slow(body, stub):
        await asyncio.sleep(0.2)
        return await obedient(body, stub)

    patience = Patience(first_s=0.02, silence_s=1.0)
    with serving(busy) as one, serving(slow) as two:
        run([one.url, two.url], "generate", count=20, samples=1, at_once=1, patience=patience)
    assert len(one.bodies) > 1


def test_work_of_a_server_that_is_gone_is_done_by_another():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{free.getsockname()[1]}"
    # It has begun more than it was asked for, and rests for longer than all others need: nobody may wait for it.
    patience = Patience(first_s=30.0, longest_s=30.0)
    began = time.monotonic()
    with serving() as stub:
        found = run([gone, stub.url], "generate", count=10, at_once=2, patience=patience)
    assert time.monotonic() - began < 10
    assert len(found) == 40
    assert {one.answer.server for one in found.values()} == {stub.url}


def test_a_server_that_comes_late_is_found():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = {}
    worker = threading.Thread(target=lambda: found.update(run([f"http://127.0.0.1:{port}"], count=3)))
    worker.start()
    time.sleep(0.5)
    with serving(port=port):
        worker.join(20)
        assert not worker.is_alive()
    assert len(found) == 12
    assert all(one.answer for one in found.values())


def test_servers_that_are_silent_for_long_end_the_run_and_nothing_is_recorded_as_failed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ModelError, match=r"no server has answered for \d s .*cannot connect"):
        run([gone], patience=Patience(first_s=0.05, silence_s=0.5))


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_an_address_that_is_wrong_ends_the_run_at_once(status):
    async def refuse(body, stub):
        return web.Response(status=status, text="no such model")

    with serving(refuse) as stub, pytest.raises(ModelError, match=f"HTTP {status}: no such model"):
        run([stub.url], at_once=1)
    assert len(stub.bodies) == 1


def test_a_certificate_that_nobody_vouches_for_ends_the_run_and_is_told(tmp_path):
    if not (openssl := shutil.which("openssl")):
        pytest.skip("openssl makes the certificate")
    made = [tmp_path / "key.pem", tmp_path / "certificate.pem"]
    words = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run(
        [openssl, "req", "-x509", *words, "-keyout", made[0], "-out", made[1]], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made[1], made[0])
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True):
                        pass

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(ModelError, match=r"its certificate is not trusted \(.*certificate verify failed"):
            run([f"https://localhost:{listening.getsockname()[1]}"], at_once=1)


def test_settings_that_every_request_is_refused_for_end_the_run_before_anything_is_recorded():
    async def refuse(body, stub):
        return web.Response(status=400, text="top_k must be positive")

    outcomes = []
    with serving(refuse) as stub, pytest.raises(ModelError, match=r"1[67] requests none was answered.*top_k"):
        HttpSampler("m", [Server(stub.url, 2)], WAYS["generate"](), QUICK).run(
            questions(100, 1, "generate"), OPTIONS, outcomes.append, lambda: False
        )
    assert outcomes == []


def test_refusals_end_no_run_in_which_others_are_still_being_answered():
    """What is refused comes back at once, first answers take a while."""

    async def mixed(body, stub):
        if body["input_ids"][2] < 20:
            return web.Response(status=400, text="too long")
        await asyncio.sleep(0.3)
        return await obedient(body, stub)

    with serving(mixed) as stub:
        found = run([stub.url], "generate", count=24, samples=1, at_once=32)
    assert sum(one.answer is not None for one in found.values()) == 4
    assert {one.failure for one in found.values() if one.failure} == {"HTTP 400: too long"}


def test_while_it_is_in_doubt_whether_any_request_is_answered_no_further_contexts_are_drawn():
    asked_meanwhile = []

    async def mixed(body, stub):
        if body["input_ids"][2]:
            return web.Response(status=400, text="too long")
        await asyncio.sleep(0.5)
        asked_meanwhile.append(len(stub.bodies))
        return await obedient(body, stub)

    with serving(mixed) as stub:
        found = run([stub.url], "generate", count=60, samples=1, at_once=4)
    assert asked_meanwhile[0] <= 1 + 16 + 3
    assert (len(found), sum(one.answer is not None for one in found.values())) == (60, 1)


def test_samples_of_few_contexts_are_no_many_refusals():
    async def mixed(body, stub):
        number = int(body["messages"][-1]["content"].split()[-1])
        return web.Response(status=400, text="too long") if number < 6 else await obedient(body, stub)

    with serving(mixed) as stub:
        found = run([stub.url], count=8, samples=4, at_once=1)
    assert sum(one.answer is not None for one in found.values()) == 8


def test_where_an_earlier_run_was_answered_refusals_are_recorded():
    async def refuse(body, stub):
        return web.Response(status=400, text="too long")

    outcomes = []
    with serving(refuse) as stub:
        sampler = HttpSampler("m", [Server(stub.url, 2)], WAYS["generate"](), QUICK)
        sampler.answered_before = True
        sampler.run(questions(40, 1, "generate"), OPTIONS, outcomes.append, lambda: False)
    assert [one.failure for one in outcomes] == ["HTTP 400: too long"] * 40


def test_refusals_in_doubt_are_not_recorded_by_a_run_that_is_stopped():
    refused = threading.Event()

    async def refuse(body, stub):
        if len(stub.bodies) == 3:
            refused.set()
            await asyncio.sleep(5)
        return web.Response(status=400, text="too long")

    with serving(refuse) as stub:
        found = run([stub.url], "generate", samples=1, at_once=1, stopped=refused.is_set)
    assert found == {}


def test_a_server_that_draws_all_samples_with_one_seed_is_soon_asked_for_them_one_by_one():
    async def by_seed(body, stub):
        answer = chatted([f"sample {body['seed']}"] * body["n"])
        for number, choice in enumerate(answer["choices"]):
            choice["message"]["tool_calls"] = [{"id": f"{len(stub.bodies)} {number}", "function": {"name": "f"}}]
        return web.json_response(answer)

    with serving(by_seed) as stub:
        found = run([stub.url], count=20, at_once=1)
        assert [body["n"] for body in stub.bodies] == [4] * 8 + [1] * 48
        assert len({one.answer.text for one in found.values()}) == 8 + 48
    with serving(by_seed) as stub:  # at temperature 0 there is nothing to draw
        run([stub.url], count=20, at_once=1, options=Sampling(temperature=0))
        assert {body["n"] for body in stub.bodies} == {4}


def test_a_model_that_is_sometimes_sure_is_asked_for_all_samples_together():
    async def sometimes(body, stub):
        return web.json_response(chatted(["a"] * 3 + ["b" if len(stub.bodies) == 2 else "a"]))

    with serving(sometimes) as stub:
        run([stub.url], count=20, at_once=1)
    assert {body["n"] for body in stub.bodies} == {4}


def test_a_key_is_sent_and_shows_in_no_message():
    async def echo(body, stub):
        return web.Response(status=500, text=f"bad {stub.headers[-1].get('Authorization')}")

    with serving(echo) as stub, pytest.raises(ModelError) as error:
        run(
            [stub.url],
            count=20,
            samples=1,
            key="sk-secret",
            patience=Patience(first_s=0.01, longest_s=0.02, attempts=1),
        )
    assert stub.headers[0]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in str(error.value)
    assert "Bearer ***" in str(error.value)


def test_a_request_without_an_answer_in_time_is_given_up():
    async def asleep(body, stub):
        if "question 0" in json.dumps(body):
            await asyncio.sleep(3)
        return await obedient(body, stub)

    with serving(asleep) as stub:
        patience = Patience(timeout_s=0.2, first_s=0.01, longest_s=0.05, attempts=2)
        found = run([stub.url], count=2, samples=1, patience=patience, at_once=1)
    assert found["task 0", 0].failure == "2 attempts, the last: no answer within 0.2 s"
    assert found["task 1", 0].answer


def test_a_stop_lets_requests_under_way_finish_and_begins_no_more():
    asked = threading.Event()

    async def slow(body, stub):
        asked.set()
        await asyncio.sleep(0.5)
        return await obedient(body, stub)

    with serving(slow) as stub:
        found = run([stub.url], "generate", count=100, samples=1, at_once=2, stopped=asked.is_set)
    assert len(stub.bodies) == len(found) == 2
    assert all(one.answer for one in found.values())


def test_a_stop_does_not_wait_longer_than_its_grace():
    asked = threading.Event()

    async def slow(body, stub):
        asked.set()
        await asyncio.sleep(20)
        return await obedient(body, stub)

    began = time.monotonic()
    with serving(slow) as stub:
        found = run([stub.url], "generate", patience=Patience(grace_s=0.2), stopped=asked.is_set)
    assert found == {}
    assert time.monotonic() - began < 10


def test_a_record_that_fails_ends_the_run():
    def full(outcome):
        raise OSError("disk full")

    with serving() as stub, pytest.raises(OSError, match="disk full"):
        HttpSampler("m", [Server(stub.url, 2)], WAYS["generate"](), QUICK).run(
            questions(5, 1, "generate"), OPTIONS, full, lambda: False
        )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Server("localhost:30000", 4), "no address"),
        (lambda: Server("http://a", 0), "at_once=0"),
        (lambda: HttpSampler("m", [], WAYS["chat"]()), "no server"),
        (lambda: HttpSampler("m", [Server("http://a", 1)], WAYS["chat"](), together=0), "together=0"),
        (lambda: Patience(timeout_s=0), "timeout_s=0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make()
