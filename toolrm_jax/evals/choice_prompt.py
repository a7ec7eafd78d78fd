"""The prompt of a judge that compares, and how its choice is read (method.md 3.6; the wording is ours).

A judge writes an evaluation in `<evaluation>` tags, then `<choice>`, a line with 1 or 2, `</choice>`. Read is the last
well-formed block after a closed think block; `first=True` takes the first anywhere, as the published code does.
"""

from __future__ import annotations

import json
import re

from toolrm_jax.data.chat import response_text
from toolrm_jax.evals.pairwise import Question
from toolrm_jax.toolcalls.render import openai_tool, render_hermes
from toolrm_jax.toolcalls.types import Candidate, Context

_STRICT = re.compile(r"<choice>\s*?\n\s*(.*?)\s*\n\s*?</choice>", re.DOTALL)
_SOFT = re.compile(r"<choice>\s*(.*?)\s*</choice>", re.DOTALL)
_THINK = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)

_TASK = """<task>
You judge the work of an assistant that can call tools. You are shown the tools it was offered, the conversation so \
far, and two candidate responses for its next turn. Compare them with care, rest on what the conversation and the tool \
descriptions say, and decide which one is better. You must choose one.
</task>

<criteria>
- The right tools are called, all that the request needs and no others; where no tool fits, none is called.
- Every call is well formed: a tool on offer, its required arguments, values of the right type.
- Every value follows from the conversation; nothing is made up.
- No call is repeated, and no question is asked that the conversation has answered.
</criteria>"""

_FORMAT = """First write your evaluation inside <evaluation></evaluation>. Then give your choice in exactly this form:
<choice>
1 or 2
</choice>"""


def choice_prompt(question: Question) -> str:
    """The whole prompt, one user message."""
    return "\n\n".join(
        (
            _TASK,
            f"<conversation>\n{_conversation(question.context)}\n</conversation>",
            f"<response_1>\n{_shown(question.first)}\n</response_1>",
            f"<response_2>\n{_shown(question.second)}\n</response_2>",
            _FORMAT,
        )
    )


def read_choice(text: str, first: bool = False) -> int | None:
    """1 or 2; None where no block says so. Strict blocks are looked for first, then those without their newlines."""
    body = text if first else _THINK.sub("", text, count=1)
    for pattern in (_STRICT, _SOFT):
        found = pattern.findall(body)
        kept = found[:1] if first else [one for one in found if one in ("1", "2")][-1:]
        if kept:
            return int(kept[0]) if kept[0] in ("1", "2") else None
    return None


def _conversation(context: Context) -> str:
    tools = "\n".join(json.dumps(openai_tool(tool), ensure_ascii=False) for tool in context.tools)
    turns = [
        f"[{message.role}]\n{render_hermes(message.calls, message.content) if message.calls else message.content}"
        for message in context.messages
    ]
    return "\n\n".join([f"<tools>\n{tools}\n</tools>", *turns])


def _shown(candidate: Candidate) -> str:
    return response_text(candidate) or "(empty)"
