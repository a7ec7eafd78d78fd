"""Judges behind HTTP: a scalar model on an SGLang or vLLM server, and a language model that compares.

What was answered is kept on disk at once, so that an evaluation cut short goes on where it stood. A server that does
not answer, refuses, or dies on the way is an error that stops the evaluation: none of its silence becomes a score.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from toolrm_jax.data.chat import Chat
from toolrm_jax.errors import ModelError
from toolrm_jax.evals.baselines import Judge
from toolrm_jax.evals.choice_prompt import choice_prompt, read_choice
from toolrm_jax.evals.metrics import Scores
from toolrm_jax.evals.pairwise import PairJudge, Question
from toolrm_jax.files import json_hash
from toolrm_jax.toolcalls.types import Group

SENT_AT_ONCE = 32
RETRIES = 4
FIRST_WAIT = 0.5
"""Seconds before the first retry; doubled for each further one."""
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)

Send = Callable[[Sequence[Sequence[int]]], list[float]]
"""Rows of token ids to their scores, as one batch; raises a ToolrmError where the server does not give them."""


def served_judge(name: str, send: Send, chat: Chat, about: str = "") -> Judge:
    """A scalar judge on a server: every answer as one row of token ids, context first, ending at its score position."""

    def score(groups: Sequence[Group]) -> Scores:
        rows: list[list[int]] = []
        sizes = []
        for group in groups:
            encoded = chat.encode_group(group.task.context, group.candidates, group.task.id)
            rows += [[*encoded.context.tolist(), *answer.tolist()] for answer in encoded.responses]
            sizes.append(len(encoded.responses))
        flat: list[float] = []
        for start in range(0, len(rows), SENT_AT_ONCE):
            flat += send(rows[start : start + SENT_AT_ONCE])
        ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
        return [flat[end - size : end] for size, end in zip(sizes, ends)]

    return Judge(name, score, about)


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
    key_of = os.environ.get("OPENAI_API_KEY")

    def one(question: Question, stopped: threading.Event) -> int | None:
        if stopped.is_set():
            return None  # nobody reads it: another question's error ends all of them
        body = {**options, "messages": [{"role": "user", "content": choice_prompt(question)}]}
        key = json_hash([url, body, first_match])
        if key not in kept:
            try:
                text = _content(_post(f"{url.rstrip('/')}/chat/completions", body, key_of, timeout), url)
            except ModelError:
                stopped.set()
                raise
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


def _post(address: str, body: Any, key: str | None, timeout: float) -> Any:
    """The JSON answer. Transient refusals are tried again; a server that stays silent is a ModelError."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    problem = ""
    for attempt in range(RETRIES + 1):
        if attempt:
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
        try:
            request = urllib.request.Request(address, json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            said = " ".join(error.read().decode(errors="replace").split())[:200]
            problem = f"answers {error.code} ({said})"
            if error.code not in TRANSIENT:
                break
        except (OSError, http.client.HTTPException) as error:
            problem = f"no answer ({error})"
        except ValueError as error:
            problem = f"answers no JSON ({error})"
    raise ModelError(
        f"{address}: {problem}; nothing was scored for it. Start the server again and repeat the command: "
        "what it has answered is kept"
    )


def _content(answer: Any, url: str) -> str:
    try:
        message = answer["choices"][0]["message"]
        return (message.get("content") or "") if isinstance(message, dict) else ""
    except (KeyError, IndexError, TypeError):
        raise ModelError(f"{url}: answers in another form than OpenAI's; is it a chat-completions server?") from None
