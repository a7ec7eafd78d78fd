"""Of a policy, verify compares greedy tokens: the same in engines that are right, and the first wrong one is named."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tests.converters.tiny_policy import tiny_policy
from toolrm_jax.cli import main
from toolrm_jax.commands import verify_policy
from toolrm_jax.commands.verify_suite import prompts

COUNT, PROMPTS = 4, 10


@pytest.fixture(autouse=True)
def _some_prompts(monkeypatch):
    """Two of each form: all fifty are for real engines."""
    monkeypatch.setattr(verify_policy, "prompts", lambda: prompts()[:PROMPTS])


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A small random Qwen3, exported."""
    return tiny_policy(tmp_path_factory.mktemp("policy"), hidden_size=16, intermediate_size=12, head_dim=8)


@pytest.fixture(scope="module")
def greedy(policy):
    """Continues token ids greedily with the weights of `policy`: the ids, and the logits that each is read from."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from toolrm_jax.models.attention import Visible
    from toolrm_jax.models.folder import load_model

    graph, state = nnx.split(load_model(policy)[0])
    length = 1024

    @jax.jit
    def after(state, row, count):
        model, at = nnx.merge(graph, state), jnp.arange(length)[None]
        hidden, _ = model(row[None], at, Visible.of((at < count).astype(jnp.int32), jnp.zeros_like(at)))
        return model.logits(jax.lax.dynamic_slice_in_dim(hidden, count - 1, 1, axis=1))[0, 0]

    known = {}

    def run(prompt):
        if (key := tuple(prompt)) not in known:
            row, found = np.zeros(length, np.int32), []
            row[: len(prompt)] = prompt
            for at in range(len(prompt), len(prompt) + COUNT):
                found.append(np.asarray(after(state, row, at)))
                row[at] = found[-1].argmax()
            known[key] = [int(logits.argmax()) for logits in found], found
        return known[key]

    return run


@contextmanager
def generating(tokens):
    """A server that answers /generate as SGLang does, by a function of the prompt."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/generate"
            greedy = {"temperature": 0, "max_new_tokens": COUNT, "ignore_eos": True, "skip_special_tokens": False}
            assert asked["sampling_params"] == greedy
            body = json.dumps(tokens(asked["input_ids"])).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def words(policy, url, dtype="float32"):
    return ["verify", f"path={policy}", "against=sglang", f"url={url}", f"dtype={dtype}", f"new_tokens={COUNT}"]


def test_a_server_that_chooses_our_tokens_agrees(policy, greedy, capsys):
    with generating(lambda prompt: {"output_ids": greedy(prompt)[0]}) as url:
        assert main(words(policy, url)) == 0
    assert "in float32: 10 of 10 answers are the same to the last token" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_token_that_no_rounding_explains_is_named(policy, greedy, dtype, fails):
    def worst_third(prompt):
        tokens, logits = greedy(prompt)
        return {"output_ids": [*tokens[:2], int(logits[2].argmin()), 0]}

    with generating(worst_third) as url:
        said = fails(*words(policy, url, dtype))
    assert "tokens do not agree" in said
    assert "token 2: " in said


def test_a_near_tie_is_shown_and_let_pass_in_bfloat16_alone(policy, greedy, capsys, fails):
    """The second best token of the position, of all prompts', where the two best stand nearest."""
    from toolrm_jax.data.chat import Chat

    chat = Chat.load(policy)
    given = [chat.context_ids(context) for context in prompts()[:PROMPTS]]
    nearest, gap, second = None, np.inf, 0
    for prompt in given:
        order = np.argsort(logits := greedy(prompt)[1][-1])
        if (apart := float(logits[order[-1]] - logits[order[-2]])) < gap:
            nearest, gap, second = prompt, apart, int(order[-2])

    def swapped(prompt):
        tokens = greedy(prompt)[0]
        return {"output_ids": [*tokens[:-1], second] if prompt == nearest else tokens}

    with generating(swapped) as url:
        assert main(words(policy, url, "bfloat16")) == 0
        said = capsys.readouterr().out
        assert "9 of 10 answers are the same" in said
        assert f"prompt {given.index(nearest)}, token {COUNT - 1}: {second} for " in said
        assert "tokens do not agree" in fails(*words(policy, url, "float32"))


def test_what_is_no_answer_is_one_line(policy, fails):
    with generating(lambda prompt: {"output_ids": [1]}) as url:
        assert "gives 1 tokens, not 4" in fails(*words(policy, url))
    with generating(lambda prompt: [{"text": "a"}]) as url:
        assert "answers in another form" in fails(*words(policy, url))
    assert "start the server" in fails(*words(policy, "http://127.0.0.1:9"))
    assert "only SGLang's and transformers' tokens" in fails("verify", f"path={policy}", "against=vllm")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "qwen3_moe"])
def test_transformers_continues_as_we_do(kind, tmp_path, capsys):
    pytest.importorskip("torch", reason="torch (extra `hf`) runs transformers' models")
    # torch's grouped product of experts wants rows of 16 bytes, in bfloat16 too. All experts take part: among random
    # ones bfloat16 chooses others, which is a jump and no rounding.
    sizes = (
        {"moe_intermediate_size": 32, "num_experts_per_tok": 4}
        if kind == "qwen3_moe"
        else {"tie_word_embeddings": kind == "qwen2"}
    )
    folder = tiny_policy(tmp_path, kind, **sizes)
    assert main(["verify", f"path={folder}", "new_tokens=8"]) == 0
    assert "in float32: 10 of 10 answers are the same" in capsys.readouterr().out


def test_the_fifty_prompts_are_all_different():
    assert len(set(map(repr, prompts()))) == 50
