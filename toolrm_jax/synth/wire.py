"""What is sent to a server and what its answer must look like: the two ways in.

`/v1/chat/completions` (OpenAI's, and that of SGLang, vLLM and many others): messages and tools, which the server
writes by its own template and reads calls from. `/generate` (SGLang's own): token ids in, text out.
Sources: OpenAI API reference, "Create chat completion"; SGLang `GenerateReqInput` and `SamplingParams`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from toolrm_jax.synth.protocol import LENGTH, STOPPED, Answer, Prompt, Request, Sampling
from toolrm_jax.toolcalls.render import openai_tool
from toolrm_jax.toolcalls.types import Context

_ENDS = {"stop": STOPPED, "tool_calls": STOPPED, "function_call": STOPPED, "length": LENGTH}
_KEPT = ("content", "tool_calls", "reasoning_content", "refusal")
EXCERPT = 200


class Malformed(ValueError):
    """An answer of a server that is not of the form it must have; one line."""


class Way(Protocol):
    """One way into a server."""

    path: str
    together: bool
    """Whether all samples of a context go in one request unless told otherwise."""

    def body(self, model: str, prompt: Prompt, options: Sampling, asked: Sequence[Request]) -> bytes:
        """The request's body, for as many samples as are asked."""
        ...

    def answers(self, payload: Any, options: Sampling) -> list[Answer]:
        """The answers in a server's JSON, at least one, without `server` and `seconds`. Raises Malformed."""
        ...


class Chat:
    """`/v1/chat/completions`, the prompt a JSON body."""

    path = "/v1/chat/completions"
    together = True  # a prompt that is paid for by the token is paid for once

    def body(self, model: str, prompt: Prompt, options: Sampling, asked: Sequence[Request]) -> bytes:
        """Options beyond OpenAI's own are left out while they change nothing: strict servers refuse them."""
        fields: dict[str, Any] = {
            "model": model,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_tokens": options.max_tokens,
            "n": len(asked),
            "seed": asked[0].seed,
        }
        if options.top_k:
            fields["top_k"] = options.top_k
        if options.min_p:
            fields["min_p"] = options.min_p
        if options.logprobs:
            fields["logprobs"] = True
        if options.thinking is not None:
            fields["chat_template_kwargs"] = {"enable_thinking": options.thinking}
        if options.stop_ids:
            fields["stop_token_ids"] = options.stop_ids
        return f"{prompt.body[:-1]}, {json.dumps(fields)[1:]}".encode("utf-8", "surrogatepass")

    def answers(self, payload: Any, options: Sampling) -> list[Answer]:
        """One per choice. Tokens are counted for all choices together, so each is given an equal part."""
        choices = payload.get("choices") if isinstance(payload, Mapping) else None
        if not isinstance(choices, list) or not choices:
            raise Malformed(f"no choices in the answer: {excerpt(payload)}")
        usage = payload.get("usage")
        prompt, written = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
        found = []
        for number, choice in enumerate(choices):
            message = choice.get("message") if isinstance(choice, Mapping) else None
            if not isinstance(message, Mapping):
                raise Malformed(f"a choice without a message: {excerpt(choice)}")
            content = message.get("content")
            if content is not None and not isinstance(content, str):
                raise Malformed(f"a message whose content is no text: {excerpt(content)}")
            part = written * (number + 1) // len(choices) - written * number // len(choices)
            kept = {name: message[name] for name in _KEPT if message.get(name)}
            finish = _finish(choice.get("finish_reason"))
            scores = _chat_logprobs(choice) if options.logprobs else ()
            found.append(Answer(content or "", finish, prompt, part, message=kept, logprobs=scores))
        return found


class Generate:
    """`/generate`, the prompt token ids. Each sample has a request and a seed of its own."""

    path = "/generate"
    together = False

    def body(self, model: str, prompt: Prompt, options: Sampling, asked: Sequence[Request]) -> bytes:
        """Special tokens stay in the text: some models write `[TOOL_CALLS]` as one."""
        sampling: dict[str, Any] = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "top_k": options.top_k or -1,
            "min_p": options.min_p,
            "max_new_tokens": options.max_tokens,
            "sampling_seed": asked[0].seed,
            "skip_special_tokens": False,
        }
        if len(asked) > 1:
            sampling["n"] = len(asked)
        if options.stop_ids:
            sampling["stop_token_ids"] = options.stop_ids
        fields: dict[str, Any] = {"input_ids": prompt.ids, "sampling_params": sampling}
        if options.logprobs:
            fields["return_logprob"] = True
        return json.dumps(fields).encode()

    def answers(self, payload: Any, options: Sampling) -> list[Answer]:
        """One per object. The token that ended an answer is taken off where the server left it."""
        found = []
        for item in payload if isinstance(payload, list) else [payload]:
            meta = item.get("meta_info") if isinstance(item, Mapping) else None
            if not isinstance(meta, Mapping) or not isinstance(item.get("text"), str):
                raise Malformed(f"no text and meta_info in the answer: {excerpt(item)}")
            reason = meta.get("finish_reason")
            finish = _finish(reason.get("type") if isinstance(reason, Mapping) else reason)
            written = item.get("output_ids")
            ids = [token for token in written if isinstance(token, int)] if isinstance(written, list) else []
            scores = _generate_logprobs(meta) if options.logprobs else ()
            prompt, count = _count(meta, "prompt_tokens"), _count(meta, "completion_tokens")
            if ids and ids[-1] in options.stop_ids:
                ids, scores, count = ids[:-1], scores[: len(ids) - 1], max(count - 1, 0)
            found.append(Answer(item["text"], finish, prompt, count, ids=tuple(ids), logprobs=scores))
        if not found:
            raise Malformed("an empty list in place of answers")
        return found


WAYS: Mapping[str, type[Way]] = {"chat": Chat, "generate": Generate}


def chat_prompt(context: Context) -> Prompt:
    """The context as the body of a chat request.

    Unlike what templates take: arguments are JSON text, and calls have ids that tool results name. The context has
    none, so results are matched in order, by the tool's name where they bear one. Ids are of the one form that all
    templates take: Mistral's refuses any that is not nine letters and digits.
    """
    waiting: list[tuple[str, str]] = []
    messages, made = [], 0
    for message in context.messages:
        out: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.calls:
            waiting = [(_call_id(made + number), call.name) for number, call in enumerate(message.calls)]
            made += len(waiting)
            out["tool_calls"] = [
                {
                    "id": id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
                }
                for (id, _), call in zip(waiting, message.calls)
            ]
        if message.role == "tool":
            place = next((i for i, (_, name) in enumerate(waiting) if name == message.name), 0)
            out["tool_call_id"] = waiting.pop(place)[0] if waiting else _call_id(0)
        if message.name is not None:
            out["name"] = message.name
        messages.append(out)
    body: dict[str, Any] = {"messages": messages}
    if context.tools:
        body["tools"] = [openai_tool(tool) for tool in context.tools]
    return Prompt(body=json.dumps(body, ensure_ascii=True))


def _call_id(number: int) -> str:
    return f"call{number:05d}"


def excerpt(value: Any) -> str:
    """The beginning of a server's answer, for a reason."""
    text = value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split())
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…"


def _finish(reason: Any) -> str:
    if (found := _ENDS.get(reason) if isinstance(reason, str) else None) is None:
        raise Malformed(f"the answer was not ended by the model: finish reason {excerpt(reason)}")
    return found


def _count(usage: Any, name: str) -> int:
    found = usage.get(name) if isinstance(usage, Mapping) else None
    return found if isinstance(found, int) and 0 <= found < 2**53 else 0


def _chat_logprobs(choice: Mapping[str, Any]) -> tuple[float, ...]:
    try:
        return tuple(float(token["logprob"]) for token in choice["logprobs"]["content"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Malformed("no log-probabilities, though they were asked for") from None


def _generate_logprobs(meta: Mapping[str, Any]) -> tuple[float, ...]:
    try:
        return tuple(float(token[0]) for token in meta["output_token_logprobs"])
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise Malformed("no log-probabilities, though they were asked for") from None
