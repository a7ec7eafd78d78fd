"""The quick encoder writes what the plain one writes, byte for byte."""

from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.preferences import encode as module
from toolrm_jax.preferences.encode import encode_groups
from toolrm_jax.preferences.shards import decode_group, encode_group
from toolrm_jax.toolcalls.types import (
    Call,
    Candidate,
    Choice,
    Context,
    ErrorType,
    Group,
    Message,
    Reference,
    Stale,
    Task,
    Tool,
    Verdict,
)  # fmt: skip

TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.just('"context":{"tools":[],"messages":[]}')
CALLS = st.lists(st.builds(Call, TEXT, st.dictionaries(TEXT, TEXT | st.integers(), max_size=2)), max_size=2).map(tuple)


@st.composite
def dialogues(draw):
    """Groups whose contexts share their tools and grow message by message, as those of one dialogue do."""
    tools = tuple(Tool(draw(TEXT), draw(TEXT), {"type": "object"}) for _ in range(draw(st.integers(0, 2))))
    messages: list[Message] = []
    groups = []
    for number in range(draw(st.integers(1, 4))):
        messages.append(Message("user", draw(TEXT)))
        reference = draw(st.none() | st.builds(Reference, CALLS, st.none() | TEXT))
        stale = (Stale(0, draw(TEXT), 1),) if draw(st.booleans()) else ()
        task = Task(f"t{number}", draw(TEXT), "c", "l", Context(tools, tuple(messages)), reference, stale)
        candidates = (Candidate(draw(CALLS), draw(TEXT), "m"), Candidate(fault="f", raw=draw(TEXT)))
        verdicts = (Verdict(True, 1.0), Verdict(False, 0.0, ErrorType.FORMAT, draw(TEXT)))
        choices = (Choice(0, 1, draw(st.booleans())),) if draw(st.booleans()) else ()
        names = draw(st.none() | st.dictionaries(TEXT, TEXT, max_size=2))
        groups.append(Group(task, candidates, verdicts, choices, names, draw(st.integers(0, 3))))
        messages.append(Message("assistant", draw(TEXT), draw(CALLS)))
    return groups


@settings(deadline=None)
@given(dialogues())
def test_records_are_those_of_the_plain_encoder_and_come_back(groups):
    records = encode_groups(groups)
    assert records == [encode_group(group) for group in groups]
    assert [decode_group(record) for record in records] == groups


@settings(deadline=None)
@given(dialogues())
def test_forgetting_changes_nothing(groups):
    before, module._KEPT = module._KEPT, 2
    try:
        assert encode_groups(groups) == [encode_group(group) for group in groups]
    finally:
        module._KEPT = before
