"""A language model on any OpenAI-compatible server that is shown two answers and says which is better.

What it said is kept on disk at once, so that an evaluation cut short goes on where it stood. A server that does not
answer, refuses, or dies on the way is an error that stops the evaluation: none of its silence becomes a choice. Only a
prompt that is longer than it reads is a choice not made (`UNREAD`), and kept as such.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from toolrm_jax.errors import ConfigError, ModelError, TooLongError, refusal
from toolrm_jax.evals.choice_prompt import choice_prompt, read_choice
from toolrm_jax.evals.pairwise import UNREAD, PairJudge, Question
from toolrm_jax.files import json_hash
from toolrm_jax.synth.post import seconds_of

RETRIES = 4
FIRST_WAIT = 0.5
"""Seconds before the first retry; doubled for each further one."""
LONGEST_WAIT = 60.0
"""Seconds that a server may ask to be left alone for."""
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
UNKNOWN = (401, 403, 404, 405, 501)
"""What a server answers that keeps no list of its models, or not for everyone."""
API_KEY = "OPENAI_API_KEY"
TOLD = ("id", "root", "max_model_len")
"""Of a model's entry in that list, what its choices depend on."""
_WAY_OUT = "; nothing was scored for it. Start the server again and repeat the command: what it has answered is kept"


class ChoiceJournal:
    """Choices already made, one JSON line each, in a file that a kill can only cut at its last line."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._found: dict[str, int | None] = {}
        if path.is_file():
            for line in path.read_bytes().splitlines():
                try:
                    row = json.loads(line)
                    self._found[row["key"]] = row["choice"]
                except (ValueError, KeyError, TypeError):
                    continue  # the line a kill cut short: that question is asked again
            if not path.read_bytes().endswith(b"\n"):
                with open(path, "ab") as file:
                    file.write(b"\n")

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> int | None:
        return self._found[key]

    def add(self, key: str, choice: int | None, text: str) -> None:
        """Keep one answer."""
        line = json.dumps({"key": key, "choice": choice, "text": text}, ensure_ascii=True) + "\n"
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            self._found[key] = choice


def chat_judge(
    url: str,
    model: str,
    journal: Path,
    temperature: float = 0.0,
    max_tokens: int = 4096,
    parallel: int = 8,
    first_match: bool = False,
    timeout: float = 600.0,
) -> PairJudge:
    """A language model on any OpenAI-compatible server, asked to compare. `url` ends in /v1."""
    kept = ChoiceJournal(journal)
    options = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
    key_of = os.environ.get(API_KEY)

    def one(question: Question, stopped: threading.Event) -> int | None:
        if stopped.is_set():
            return None  # nobody reads it: another question's error ends all of them
        body = {**options, "messages": [{"role": "user", "content": choice_prompt(question)}]}
        key = json_hash([url, body, first_match])
        if key not in kept:
            try:
                text = _content(_asked(f"{url.rstrip('/')}/chat/completions", body, key_of, timeout), url)
            except TooLongError as error:
                kept.add(key, UNREAD, str(error))
            except ModelError:
                stopped.set()
                raise
            else:
                kept.add(key, read_choice(text, first_match), text)
        return kept[key]

    def choose(questions: Sequence[Question]) -> list[int | None]:
        stopped = threading.Event()
        with ThreadPoolExecutor(parallel) as pool:
            waiting = [pool.submit(one, question, stopped) for question in questions]
            try:
                # In the order of arrival, so that an error is raised before the answers that it voided are read.
                for each in as_completed(waiting):
                    each.result()
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [each.result() for each in waiting]

    return PairJudge(model, choose, f"a language model at {url}, shown both answers in both orders")


def served_model(url: str, model: str, timeout: float = 60.0) -> dict[str, Any]:
    """What the server says of the model that choices depend on; nothing from a server without a list of its models."""
    answer = _asked(f"{url.rstrip('/')}/models", None, os.environ.get(API_KEY), timeout, UNKNOWN)
    models = answer.get("data") if isinstance(answer, dict) else None
    for one in models if isinstance(models, list) else ():
        if isinstance(one, dict) and (one.get("id") == model or len(models) == 1):
            return {name: one[name] for name in TOLD if name in one}
    return {}


def _asked(address: str, body: Any, key: str | None, timeout: float, unknown: Sequence[int] = ()) -> Any:
    """The JSON answer to a POST of `body`, or a GET where it is None; None itself for a status among `unknown`.

    Transient refusals are tried again, as late as the server asks (LONGEST_WAIT at most); a server that stays silent is
    a ModelError, what is no address a ConfigError.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"chat_url: {address} is no address; give http://HOST:PORT/v1")
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    told = 0.0
    for attempt in range(RETRIES + 1):
        if attempt:
            time.sleep(max(FIRST_WAIT * 2 ** (attempt - 1), min(told, LONGEST_WAIT)))
            told = 0.0
        try:
            request = urllib.request.Request(address, data, headers)
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            if error.code in unknown:
                return None
            refused = refusal(address, error.code, _said(error), _WAY_OUT)
            if error.code not in TRANSIENT:
                raise refused from None
            told = seconds_of(error.headers.get("Retry-After")) or 0.0
        except (OSError, http.client.HTTPException) as error:
            refused = ModelError(f"{address}: no answer ({error}){_WAY_OUT}")
        except ValueError as error:
            refused = ModelError(f"{address}: answers no JSON ({error}){_WAY_OUT}")
    raise refused


def _said(error: urllib.error.HTTPError) -> str:
    """The refusal's words; none where the server breaks off in the middle of them."""
    try:
        return error.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def _content(answer: Any, url: str) -> str:
    try:
        message = answer["choices"][0]["message"]
        return (message.get("content") or "") if isinstance(message, dict) else ""
    except (KeyError, IndexError, TypeError):
        raise ModelError(f"{url}: answers in another form than OpenAI's; is it a chat-completions server?") from None
