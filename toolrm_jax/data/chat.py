"""A backbone's tokenizer and chat template: contexts and answers as the tokens every engine is given.

The context is what the template writes before the answer's content; an answer is its text and the end-of-turn
token. Text from users, tools and models never becomes a special token: only the template writes those.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolrm_jax.data.template import Template, chatml_tools
from toolrm_jax.data.tokenizer_folder import (
    SETTINGS,
    TEMPLATE,
    TOKENIZER,
    find_folder,
    read_settings,
    read_template,
    read_tokenizer,
    token_text,
)
from toolrm_jax.errors import DataError, ModelError
from toolrm_jax.files import write_file
from toolrm_jax.toolcalls.render import openai_message, openai_tool, render_hermes
from toolrm_jax.toolcalls.types import Candidate, Context, Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
# Unicode noncharacters: no text holds them. One stands for the answer, one keeps special tokens in texts apart.
_ANSWER, _APART = "\ufdd0", "\ufdd1"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class EncodedGroup:
    """Token ids, int32: the context, and per answer its tokens up to and with the end-of-turn token."""

    context: np.ndarray
    responses: tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Chat:
    """A tokenizer with the chat template its contexts are written by.

    `pad_id` is never the end-of-turn token. `own_template` says that the model's template knew no tools and ours
    stands in its place. Made by `Chat.load`.
    """

    template: Template
    own_template: bool
    end_of_turn: str
    end_of_turn_id: int
    pad: str
    pad_id: int
    _tokenizer: Tokenizer
    _settings: Mapping[str, Any]
    _special: re.Pattern[str]

    @classmethod
    def load(cls, path_or_id: str | Path) -> Chat:
        """Read `tokenizer.json`, `tokenizer_config.json` and the chat template of a folder or hub id.

        Raises ModelError where one is missing or damaged, or where the model neither has a template that knows
        tools nor speaks ChatML.
        """
        folder = find_folder(path_or_id)
        settings = read_settings(folder)
        tokenizer = read_tokenizer(folder, settings)
        special = sorted((t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special), key=len)
        if not special:
            raise ModelError(f"{folder}: the tokenizer has no special tokens, so no token ends a turn")
        pattern = re.compile("|".join(map(re.escape, reversed(special))))
        tokens = {name: text for name in _NAMED if (text := token_text(settings.get(name)))}
        source = read_template(folder, settings)
        own = source is None or not Template(source, tokens).knows_tools()
        if own:
            if not {"<|im_start|>", "<|im_end|>"} <= set(special):
                raise ModelError(f"{folder}: its chat template knows no tools and it is no ChatML model")
            source = chatml_tools()
        template = Template(source, tokens)
        end = _end_of_turn(template, pattern, folder)
        pad = _pad(tokens, special, end, folder)
        ids = {text: tokenizer.token_to_id(text) for text in (end, pad)}
        chat = cls(template, own, end, ids[end], pad, ids[pad], tokenizer, settings, pattern)
        _check_splitting(tokenizer, chat, folder)
        return chat

    @property
    def vocab_size(self) -> int:
        """One more than the highest token id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the tokenizer and the template: what a data card records."""
        both = json.dumps([self._tokenizer.to_str(), self.template.source, self.end_of_turn, self.pad])
        return hashlib.sha256(both.encode()).hexdigest()

    def context_text(self, context: Context) -> str:
        """All that the template writes before the answer's content, its own special tokens as text.

        A special token that stands in a message or tool is kept apart by a noncharacter after its first character.
        """
        text = self._conversation(context, {"role": "assistant", "content": _ANSWER})
        start, found, _ = text.rpartition(_ANSWER)
        if not found:
            raise DataError("the model's chat template leaves the answer out of this conversation")
        return start

    def context_ids(self, context: Context) -> list[int]:
        """Token ids of the context, up to where the assistant's answer begins."""
        return self._encode_turns(self.context_text(context))

    def prompt_ids(self, context: Context, thinking: bool | None = None) -> list[int]:
        """Token ids that a model is given to answer the context: what its template writes where an answer is to come.

        Not always `context_ids`: there a template may have closed a block of reasoning that the model is to write
        here. thinking: the template's `enable_thinking`; None: as it does by itself.
        """
        options = {} if thinking is None else {"enable_thinking": thinking}
        messages, tools = self._parts(context)
        text = _whole(self.template.render(messages, tools, add_generation_prompt=True, **options))
        if "add_generation_prompt" not in self.template.source:
            before = self.context_text(context)  # Mistral's ends at the turn before, others have a line to add
            text = text if before.rstrip() == text.rstrip() else before
        return self._encode_turns(text)

    def response_ids(self, candidate: Candidate) -> list[int]:
        """Token ids of an answer, the last of them the end-of-turn token."""
        return [*self._encode([response_text(candidate)])[0], self.end_of_turn_id]

    def encode_group(self, context: Context, candidates: Sequence[Candidate], group_id: str = "") -> EncodedGroup:
        """The context once and every answer. Raises DataError, naming the group, where `check_prefix` does."""
        text = self.context_text(context)
        self._check_prefix(text, context, candidates, group_id)
        answers = self._encode([response_text(candidate) for candidate in candidates])
        return EncodedGroup(
            np.array(self._encode_turns(text), np.int32),
            tuple(np.array([*ids, self.end_of_turn_id], np.int32) for ids in answers),
        )

    def check_prefix(self, context: Context, candidate: Candidate, group_id: str = "") -> None:
        """Check that the context's tokens begin those of the template's text for context and answer together.

        Where they do not, an engine that renders the conversation itself would not see the tokens we trained on:
        a template that rewrites earlier turns or moves a `<think>` block, or an answer that starts with
        whitespace which melts into the template's. Raises DataError.
        """
        self._check_prefix(self.context_text(context), context, [candidate], group_id)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer with its chat template and pad token, for AutoTokenizer and for `load`."""
        folder = Path(folder)
        write_file(folder / TOKENIZER, self._tokenizer.to_str())
        settings = {**self._settings, "pad_token": self.pad}
        settings.pop("chat_template", None)
        write_file(folder / SETTINGS, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
        write_file(folder / TEMPLATE, self.template.source)

    def _conversation(self, context: Context, answer: Mapping[str, Any]) -> str:
        messages, tools = self._parts(context)
        return _whole(self.template.render([*messages, answer], tools))

    def _parts(self, context: Context) -> tuple[list[Any], list[Any]]:
        """Messages and tools as templates take them, special tokens in them kept apart."""
        messages = [self._kept_apart(openai_message(message)) for message in context.messages]
        return messages, [self._kept_apart(openai_tool(tool)) for tool in context.tools]

    def _kept_apart(self, value: Any) -> Any:
        """The same JSON value with every special token in its texts broken up (see `context_text`)."""
        if isinstance(value, str):
            return self._special.sub(lambda found: found[0][0] + _APART + found[0][1:], value)
        if isinstance(value, dict):
            return {self._kept_apart(key): self._kept_apart(item) for key, item in value.items()}
        return [self._kept_apart(item) for item in value] if isinstance(value, list) else value

    def _encode_turns(self, text: str) -> list[int]:
        """Token ids of text that holds the template's special tokens; those kept apart are joined and stay text."""
        parts = self._special.split(text)
        marks = [self._tokenizer.token_to_id(mark) for mark in self._special.findall(text)]
        first, *others = self._encode(parts)
        return [*first, *(token for mark, ids in zip(marks, others) for token in (mark, *ids))]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        whole = [_whole(text).replace(_APART, "") for text in texts]
        return [encoded.ids for encoded in self._tokenizer.encode_batch_fast(whole, add_special_tokens=False)]

    def _check_prefix(self, before: str, context: Context, candidates: Sequence[Candidate], group_id: str) -> None:
        whole = [self._conversation(context, self._kept_apart(_message(candidate))) for candidate in candidates]
        # Special tokens cut the text whatever stands around them, so tokens differ between the last of the
        # context and the next one, or nowhere.
        turn = max((mark.end() for mark in self._special.finditer(before)), default=0)
        tail, *longer = self._encode([before[turn:], *(self._special.split(text[turn:], 1)[0] for text in whole)])
        for text, ids in zip(whole, longer):
            if not text.startswith(before) or ids[: len(tail)] != tail:
                where = f"group {group_id}: " if group_id else ""
                raise DataError(
                    f"{where}the chat template writes an answer so that the context is no exact prefix of it; "
                    "leave that answer out, or strip the whitespace or <think> block it starts with"
                )


def response_text(candidate: Candidate) -> str:
    """An answer as the model would write it; what could not be parsed, as it was written."""
    if candidate.fault is not None and candidate.raw is not None:
        return candidate.raw
    return render_hermes(candidate.calls, candidate.text)


def _message(candidate: Candidate) -> dict[str, Any]:
    """The answer as an engine that keeps conversations in OpenAI's form would hold it."""
    if candidate.fault is not None:
        return {"role": "assistant", "content": response_text(candidate)}
    return openai_message(Message("assistant", candidate.text, candidate.calls))


def _whole(text: str) -> str:
    """The text with halves of surrogate pairs, which UTF-8 cannot hold, joined or replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _end_of_turn(template: Template, special: re.Pattern[str], folder: Path) -> str:
    """The special token that the template writes right after an answer."""
    turns = [{"role": "user", "content": "probe"}, {"role": "assistant", "content": _ANSWER}]
    found = special.match(template.render(turns).rpartition(_ANSWER)[2])
    if not found:
        raise ModelError(f"{folder}: its chat template ends an answer with no special token, so there is none to score")
    return found[0]


def _pad(tokens: Mapping[str, str], special: Sequence[str], end: str, folder: Path) -> str:
    """The token to pad with: the model's own unless that ends a turn."""
    usual = [tokens.get("pad_token"), "<|endoftext|>", tokens.get("unk_token"), tokens.get("eos_token"), *special]
    for token in usual:
        if token in special and token != end:
            return token
    raise ModelError(f"{folder}: {end!r} is its only special token, so there is none left to pad with")


def _check_splitting(tokenizer: Tokenizer, chat: Chat, folder: Path) -> None:
    """Check that encoding piece by piece, as `Chat` does, gives what the tokenizer gives for the whole text."""
    text = chat.template.render([{"role": "user", "content": " a  b\n"}, {"role": "assistant", "content": "12 c "}])
    tokenizer.encode_special_tokens = False
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = True
    if chat._encode_turns(text) != whole:
        raise ModelError(f"{folder}: its special tokens swallow the spaces beside them, which is not supported")
