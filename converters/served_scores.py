"""Scores of a sequence classifier from a server: SGLang's native /classify, vLLM's /classify, both given token ids.

Sources of the formats: sglang `EmbeddingReqInput` (input_ids in; a list of objects with `embedding` out), vLLM
`ClassificationRequest` (model and input in; `data` with `probs` out).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, Literal

from toolrm_jax.errors import ConfigError, ModelError, refusal

Engine = Literal["sglang", "vllm"]
URLS: dict[Engine, str] = {"sglang": "http://localhost:30000", "vllm": "http://localhost:8000"}
TIMEOUT = 600.0
"""Seconds for one answer: the first on a CPU may compile."""
_SHOWN = 200


def served_scores(engine: Engine, url: str, rows: Sequence[Sequence[int]], timeout: float = TIMEOUT) -> list[float]:
    """The score of each row of token ids, all sent as one batch, as the engine gives it.

    Raises ConfigError where no server answers, ModelError where it refuses or answers in another form (TooLongError
    where it refuses a row for its length).
    """
    check_address(url, engine)
    return _CLIENTS[engine](url.rstrip("/"), [list(map(int, row)) for row in rows], timeout)


def served_model(engine: Engine, url: str, timeout: float = TIMEOUT) -> dict[str, Any]:
    """What the server says of its model that scores depend on: path, version of the weights, longest input.

    Raises as `served_scores` does.
    """
    check_address(url, engine)
    url = url.rstrip("/")
    model = _first_model(url, timeout)
    told = {name: model[name] for name in ("id", "root", "max_model_len") if name in model}
    if engine == "sglang":
        # Its list names the model as the user called it; here stand the folder, and the version of the weights. The
        # address is called deprecated, so a server without it is no error.
        with contextlib.suppress(ModelError):
            info = ask(f"{url}/get_model_info", None, timeout)
            told |= {name: info[name] for name in ("model_path", "weight_version") if name in info}
    return told


def _first_model(url: str, timeout: float) -> dict[str, Any]:
    models = ask(f"{url}/v1/models", None, timeout)
    try:
        return {**models["data"][0], "id": models["data"][0]["id"]}
    except (KeyError, IndexError, TypeError):
        raise ModelError(f"{url}/v1/models: names no model ({shortened(models)}); is it a model server?") from None


def _sglang(url: str, rows: list[list[int]], timeout: float) -> list[float]:
    answer = ask(f"{url}/classify", {"input_ids": rows}, timeout)
    found = answer if isinstance(answer, list) else [answer]
    return _checked(url, [one["embedding"] for one in found] if _all_have(found, "embedding") else None, len(rows))


def _vllm(url: str, rows: list[list[int]], timeout: float) -> list[float]:
    answer = ask(f"{url}/classify", {"model": _first_model(url, timeout)["id"], "input": rows}, timeout)
    found = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not _all_have(found, "probs", "index"):
        return _checked(url, None, len(rows))
    return _checked(url, [one["probs"] for one in sorted(found, key=lambda one: one["index"])], len(rows))


_CLIENTS: dict[Engine, Callable[[str, list[list[int]], float], list[float]]] = {"sglang": _sglang, "vllm": _vllm}


def _all_have(found: list[Any], *names: str) -> bool:
    return all(isinstance(one, dict) and all(name in one for name in names) for one in found)


def _checked(url: str, outputs: list[Any] | None, count: int) -> list[float]:
    if outputs is None:
        raise ModelError(f"{url}/classify: answers in another form; is it the engine named, serving a classifier?")
    if len(outputs) != count:
        raise ModelError(f"{url}/classify: {len(outputs)} answers to {count} rows")
    for output in outputs:
        if not isinstance(output, list) or len(output) != 1 or not isinstance(output[0], int | float):
            raise ModelError(
                f"{url}/classify: gives {shortened(output)} for a row, expected one number; "
                "is the model served as a classifier with one label?"
            )
    return [float(output[0]) for output in outputs]


def check_address(url: str, engine: Engine) -> None:
    """Raise ConfigError for what is no address of a server."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"url={url}: no address of a server; give one such as {URLS[engine]}")


def ask(address: str, body: Any, timeout: float) -> Any:
    """The JSON that a POST of `body` gives, a GET where it is None. Raises as `served_scores` does."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise refusal(address, error.code, _said(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(f"{address}: no answer ({error}); start the server or give its url=") from None
    except ValueError as error:
        raise ModelError(f"{address}: answers no JSON ({error})") from None


def _said(error: urllib.error.HTTPError) -> str:
    """What a refusal says, as far as it came: a server that dies may close the connection in the middle of it."""
    try:
        return error.read().decode(errors="replace")
    except http.client.IncompleteRead as cut:
        return cut.partial.decode(errors="replace")
    except (OSError, http.client.HTTPException) as fault:
        return str(fault)


def shortened(value: Any) -> str:
    """The value as one line that fits an error."""
    text = value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
