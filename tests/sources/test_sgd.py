"""Schema-Guided Dialogue: tools, decision points, accepted wordings, and the value that the user has replaced."""

import json

import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.sources import Drops, sgd
from toolrm_jax.sources.drops import BAD_ARGUMENTS, NOT_READABLE
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.types import Call, Candidate, Message, Stale

SCHEMA = [
    {
        "service_name": "Cafes_1",
        "description": "Cafes",
        "slots": [
            {"name": "city", "description": "Where", "is_categorical": False, "possible_values": []},
            {"name": "seats", "description": "How many", "is_categorical": True, "possible_values": ["1", "2"]},
            {"name": "date", "description": "When", "is_categorical": False, "possible_values": []},
        ],
        "intents": [
            {
                "name": "Reserve",
                "description": "Reserve a table",
                "required_slots": ["city"],
                "optional_slots": {"seats": "2", "date": "dontcare"},
            }
        ],
    }
]


def user(utterance, values=None, actions=()):
    state = {"active_intent": "Reserve", "requested_slots": [], "slot_values": values or {}}
    frame = {"service": "Cafes_1", "slots": [], "state": state}
    informed = [
        {"act": "INFORM", "slot": slot, "values": [said], "canonical_values": [meant]} for slot, said, meant in actions
    ]
    return {"speaker": "USER", "utterance": utterance, "frames": [{**frame, "actions": informed}]}


def system(utterance, parameters=None, results=()):
    frame = {"service": "Cafes_1", "slots": [], "actions": []}
    if parameters is not None:
        frame |= {"service_call": {"method": "Reserve", "parameters": parameters}, "service_results": list(results)}
    return {"speaker": "SYSTEM", "utterance": utterance, "frames": [frame]}


TURNS = [
    user("A cafe in Oslo, tomorrow.", {"city": ["Oslo"], "date": ["tomorrow"]}, [("date", "tomorrow", "2019-03-02")]),
    system("For two?"),
    user("No, make it Rome, and for 2.", {"city": ["Rome"], "date": ["tomorrow"], "seats": ["2"]}),
    system("Done.", {"city": "Rome", "date": "2019-03-02", "seats": "2"}, [{"city": "Rome"}]),
    user("Thanks."),
    system("Bye."),
]


@pytest.fixture
def folder(tmp_path):
    def write(turns):
        split = tmp_path / "train"
        split.mkdir(exist_ok=True)
        (split / "schema.json").write_text(json.dumps(SCHEMA))
        dialogue = {"dialogue_id": "1_00000", "services": ["Cafes_1"], "turns": turns}
        (split / "dialogues_001.json").write_text(json.dumps([dialogue]))
        return tmp_path

    return write


def test_a_decision_point_at_every_system_turn(folder):
    tasks = list(sgd.read(folder(TURNS), Drops(strict=True)))
    assert [task.id for task in tasks] == ["sgd/train/1_00000/1", "sgd/train/1_00000/3", "sgd/train/1_00000/5"]
    call = Call("Cafes_1_Reserve", {"city": "Rome", "date": "2019-03-02", "seats": "2"})
    assert [task.reference.calls for task in tasks] == [(), (call,), ()]
    assert [task.reference.text for task in tasks] == ["For two?", None, "Bye."]
    assert tasks[2].context.messages == (
        Message("system", "Today is Friday, March 1, 2019."),
        Message("user", "A cafe in Oslo, tomorrow."),
        Message("assistant", "For two?"),
        Message("user", "No, make it Rome, and for 2."),
        Message("assistant", "", (call,)),
        Message("tool", '[{"city": "Rome"}]', (), "Cafes_1_Reserve"),
        Message("assistant", "Done."),
        Message("user", "Thanks."),
    )


def test_an_intent_is_a_tool(folder):
    task = next(sgd.read(folder(TURNS), Drops()))
    (tool,) = task.context.tools
    assert tool.description == "Reserve a table (Cafes)"
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where"},
            "seats": {"type": "string", "description": "How many", "enum": ["1", "2"], "default": "2"},
            "date": {"type": "string", "description": "When"},
        },
        "required": ["city"],
    }


def test_the_users_wording_and_leaving_out_a_default_are_right_too(folder):
    task = list(sgd.read(folder(TURNS), Drops()))[1]
    assert task.reference.accepted == ({"city": ["Rome"], "date": ["2019-03-02", "tomorrow"], "seats": ["2", ""]},)
    assert judge(task, Candidate((Call("Cafes_1_Reserve", {"city": "rome", "date": "tomorrow"}),))).right
    assert not judge(task, Candidate((Call("Cafes_1_Reserve", {"city": "Oslo", "date": "tomorrow"}),))).right


def test_a_value_that_the_user_has_replaced_is_marked(folder):
    tasks = list(sgd.read(folder(TURNS), Drops()))
    assert [task.stale for task in tasks] == [(), (Stale(0, "city", "Oslo"),), ()]


def test_a_value_said_in_other_words_is_not_stale(folder):
    turns = [
        user("Tomorrow in Rome.", {"city": ["Rome"], "date": ["tomorrow"]}, [("date", "tomorrow", "2019-03-02")]),
        system("The 2nd?"),
        user("Yes.", {"city": ["Rome"], "date": ["the 2nd", "tomorrow"]}),
        system("Done.", {"city": "Rome", "date": "2019-03-02"}),
    ]
    assert [task.stale for task in sgd.read(folder(turns), Drops())] == [(), ()]


def test_a_call_that_lacks_a_required_slot_is_a_drop_and_the_dialogue_goes_on(folder):
    turns = [user("A cafe."), system("Done.", {"seats": "1"}), user("Thanks."), system("Bye.")]
    drops = Drops()
    assert [task.reference.text for task in sgd.read(folder(turns), drops)] == ["Bye."]
    assert drops.counts == {BAD_ARGUMENTS: 1}


@pytest.mark.parametrize(
    "turns",
    [
        [user("a"), {"speaker": "SYSTEM", "utterance": "b"}],
        [system("a")],
        [user("a"), {**system("b"), "speaker": "ROBOT"}],
        [user("a"), system("b", {}) | {"frames": [{"service": "No_1", "service_call": {}, "actions": []}]}],
    ],
)
def test_a_dialogue_not_of_the_published_form_is_one_drop(folder, turns):
    drops = Drops()
    assert list(sgd.read(folder(turns), drops)) == []
    assert drops.counts == {NOT_READABLE: 1}
    with pytest.raises(DataError, match=r"dialogues_001\.json:1"):
        list(sgd.read(folder(turns), Drops(strict=True)))


@pytest.mark.parametrize("content", [b'[{"dialogue_id": "1', b"\xff\xfe[]", b"{}", b""])
def test_a_file_cut_short_or_not_utf8_is_an_error_that_names_it(folder, content):
    path = folder(TURNS)
    (path / "train" / "dialogues_001.json").write_bytes(content)
    with pytest.raises(DataError, match=r"dialogues_001\.json.*fetch it again"):
        list(sgd.read(path, Drops()))


def test_a_missing_or_foreign_schema_is_an_error(folder):
    path = folder(TURNS)
    (path / "train" / "schema.json").write_text('[{"service": 1}]')
    sgd.load_schema.cache_clear()
    with pytest.raises(DataError, match="not of the published form"):
        list(sgd.read(path, Drops()))
    (path / "train" / "schema.json").unlink()
    sgd.load_schema.cache_clear()
    with pytest.raises(DataError, match=r"schema\.json"):
        list(sgd.read(path, Drops()))
