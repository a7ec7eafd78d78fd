"""Answers in words: replies without a call, and calls in a text that does not parse."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from toolrm_jax.toolcalls.conversation import Conversation
from toolrm_jax.toolcalls.parse_hermes import parse_hermes
from toolrm_jax.toolcalls.render import render_hermes, render_python
from toolrm_jax.toolcalls.types import Call, Tool

_OPENINGS = (
    "",
    "",
    "",
    "I'm sorry, but ",
    "Sure! ",
    "Thanks for your question. ",
    "Unfortunately, ",
    "Of course. ",
    "Hi! ",
)
_ASKING = (
    "could you please tell me the {parameter}?", "what {parameter} would you like?", "please provide the {parameter}.",
    "I need more information about {topic} before I can go on.", "which {topic} do you mean?",
    "could you clarify what you mean by {topic}?", "I need the {parameter} to do this. Could you provide it?",
    "to help with {topic}, please specify the {parameter} and any other details you would like me to use.",
)  # fmt: skip
_REFUSING = (
    "I can't help with {topic}.", "I don't have access to {topic}.", "none of the functions can be used for {topic}.",
    "the available tools cannot answer this.", "I'm not able to do that.", "no function was found for {topic}.",
    "the given functions do not cover {topic}, so I cannot answer this request with them.",
    "I do not have real-time information on {topic}. You may want to look at an official source instead.",
)  # fmt: skip
_ANSWERING = (
    "here is what I found about {topic}.", "I have taken care of {topic} for you.", "{topic} is all set.",
    "let me look into {topic}.", "I would use {tool} for this.", "you can do this with {tool}, by giving it {topic}.",
    "I will call {tool} with the details you gave and let you know as soon as there is a result.",
    "this is done. Is there anything else I can help you with today?",
)  # fmt: skip


def reply_without_call(
    rng: random.Random, said: Conversation, calls: Sequence[Call] = (), tools: Sequence[Tool] = (), fits: bool = False
) -> str:
    """A short reply in words, or nothing at all: a question, a refusal, or as if the work were done.

    With `fits`, one that is fair where no tool helps: a question or a refusal, which names no parameter or tool.
    """
    if rng.random() < 0.15:
        return ""
    topic = rng.choice(said.spans[:20] or ("that",))
    names = [name for call in calls for name in call.arguments] or [name for tool in tools for name in tool.properties]
    parameter = (
        rng.choice(names).replace("_", " ").strip() if names and not fits else rng.choice(["details", "context"])
    )
    tool = calls[0].name if calls else rng.choice(tools).name if tools else "a function"
    pools = [_REFUSING, _REFUSING, _ASKING] if fits else [_ASKING, _REFUSING, _ANSWERING]
    opening = rng.choice(_OPENINGS)
    reply = rng.choice(rng.choice(pools)).format(topic=topic, parameter=parameter, tool=tool)
    return opening + (reply if opening.endswith(", ") or opening.endswith("but ") else reply[:1].upper() + reply[1:])


def broken_text(rng: random.Random, calls: Sequence[Call]) -> tuple[str, str]:
    """The calls as a text that does not parse, and what a parser says of it."""
    whole = render_hermes(calls)
    blocks = [{"name": call.name, "arguments": call.arguments} for call in calls]
    plain = json.dumps(blocks[0] if len(blocks) == 1 else blocks, ensure_ascii=False)
    forms = [
        whole.replace("}\n</tool_call>", "\n</tool_call>"),
        whole[: -len("\n</tool_call>") - rng.randint(1, 2)],
        "\n".join(f"<tool_call>\n{block}\n</tool_call>" for block in blocks),
        "\n".join(f"<tool_call>\n{render_python([call])[1:-1]}\n</tool_call>" for call in calls),
        whole.replace('": ', '" ', 1),
        whole.replace('{"name": "', '{"name": ', 1),
        plain,
        f"```json\n{plain}\n```",
        render_python(calls),
        "\n".join(f"Action: {call.name}\nAction Input: {json.dumps(call.arguments)}" for call in calls),
        whole.replace("<tool_call>", "<function>").replace("</tool_call>", "</function>"),
    ]
    raw = rng.choice(forms)
    return raw, parse_hermes(raw).fault or "no <tool_call> block"
