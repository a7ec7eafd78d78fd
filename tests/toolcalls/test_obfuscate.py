import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls import obfuscate as module
from toolrm_jax.toolcalls.obfuscate import obfuscate
from toolrm_jax.toolcalls.obfuscate_text import is_identifier, replace_mentions
from toolrm_jax.toolcalls.parse import parse_hermes
from toolrm_jax.toolcalls.render import render_hermes
from toolrm_jax.toolcalls.schema import check_tool, violations
from toolrm_jax.toolcalls.types import Call, Candidate, Context, Message, Reference, Task, Tool

NAME = re.compile(r"[a-z]{6,12}")

WEATHER = Tool(
    "get_weather",
    "Weather of a city.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "a city", "enum": ["city", "Oslo"], "default": "Oslo"},
            "place": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
            "same": {"$ref": "#/properties/city"},
            "unit": {"$ref": "#/$defs/unit"},
        },
        "required": ["city"],
        "dependentRequired": {"unit": ["place"]},
        "anyOf": [{"required": ["city"]}, {"required": ["place"]}],
        "additionalProperties": False,
        "$defs": {"unit": {"type": "string"}},
    },
)
TIME = Tool("get_time", "", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
CALL = Call("get_weather", {"city": "Oslo", "place": {"lat": 1.5}, "unit": "c"})
TASK = Task(
    id="t1", source="s", category="c", licence="l",
    context=Context(
        (WEATHER, TIME),
        (
            Message("user", "get_weather for city Oslo"),
            Message("assistant", "", (Call("get_time", {"city": "Oslo"}), Call("old_tool", {"old": 1}))),
            Message("tool", "12:00", name="get_time"),
        ),
    ),
    reference=Reference((CALL,), accepted=({"city": ["Oslo", "city"], "place": [{"lat": [1.5]}], "unit": ["", "c"]},)),
)  # fmt: skip


def keys(value):
    """Every key of every object inside."""
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def test_no_name_of_a_tool_or_parameter_is_left_as_a_key_or_a_calls_name():
    task, renaming = obfuscate(TASK, 0)
    originals = {"get_weather", "get_time", "city", "place", "same", "unit", "old_tool", "old"}
    assert set(renaming.names) == originals
    for tool in task.context.tools:
        assert NAME.fullmatch(tool.name)
        assert all(NAME.fullmatch(name) for name in tool.properties)
        assert not originals.intersection([*tool.properties, *tool.required])
        check_tool(tool)
    calls = [call for message in task.context.messages for call in message.calls] + list(task.reference.calls)
    assert all(NAME.fullmatch(name) for call in calls for name in [call.name, *call.arguments])
    assert not originals & keys([message.to_json() for message in task.context.messages])
    assert not originals & keys(task.reference.to_json())


def test_one_map_serves_schemas_messages_and_the_reference():
    task, renaming = obfuscate(TASK, 0)
    new = renaming.names
    weather, time = task.context.tools
    assert weather.name == new["get_weather"]
    assert weather.required == time.required == (new["city"],)
    assert weather.parameters["dependentRequired"] == {new["unit"]: [new["place"]]}
    assert weather.parameters["anyOf"] == [{"required": [new["city"]]}, {"required": [new["place"]]}]
    assert weather.properties[new["same"]] == {"$ref": f"#/properties/{new['city']}"}
    assert task.context.messages[1].calls[0] == Call(new["get_time"], {new["city"]: "Oslo"})
    assert task.context.messages[2].name == new["get_time"]
    assert list(task.reference.accepted[0]) == [new["city"], new["place"], new["unit"]]
    assert task.reference.calls == renaming.apply([CALL])
    assert len(set(new.values())) == len(new)


def test_values_ordinary_words_and_nested_keys_are_left_alone():
    task, renaming = obfuscate(TASK, 0)
    new = renaming.names
    weather = task.context.tools[0]
    assert weather.description == WEATHER.description
    assert weather.properties[new["city"]] == WEATHER.properties["city"]
    assert weather.properties[new["place"]] == WEATHER.properties["place"]
    assert weather.parameters["$defs"] == WEATHER.parameters["$defs"]
    assert [m.content for m in task.context.messages] == [f"{new['get_weather']} for city Oslo", "", "12:00"]
    assert list(task.reference.calls[0].arguments.values()) == list(CALL.arguments.values())
    assert list(task.reference.accepted[0].values()) == list(TASK.reference.accepted[0].values())


def test_keys_of_schemas_are_shuffled_and_arguments_are_not():
    def orders(read):
        return {json.dumps(read(task, names)) for task, names in made}

    made = []
    for seed in range(20):
        task, renaming = obfuscate(TASK, seed)
        made.append((task, {new: old for old, new in renaming.names.items()}))
    assert len(orders(lambda task, names: list(task.context.tools[0].parameters))) > 5
    assert len(orders(lambda task, names: [names[key] for key in task.context.tools[0].properties])) > 5
    city = [next(iter(task.context.tools[1].properties.values())) for task, _ in made]
    assert city == [{"type": "string"}] * 20
    assert orders(lambda task, names: [names[key] for key in task.reference.calls[0].arguments]) == {
        json.dumps(["city", "place", "unit"])
    }


def test_names_depend_on_seed_and_task_alone():
    assert obfuscate(TASK, 0) == obfuscate(TASK, 0)
    names = obfuscate(TASK, 0)[1].names
    assert names != obfuscate(TASK, 1)[1].names
    other = Task.from_json({**TASK.to_json(), "id": "t2"})
    assert names != obfuscate(other, 0)[1].names


def test_names_that_still_stand_in_texts_are_counted():
    assert obfuscate(TASK, 0)[1].described == 1  # city, an ordinary word


def mentions(text, *names, values=()):
    return replace_mentions(text, frozenset(names), frozenset(values), str.upper, set())


def test_an_identifier_is_a_mention_wherever_it_stands_alone():
    text = "Use get_weather, or weather.get; not get_weathers nor my_get_weather. getWeather(1)"
    assert mentions(text, "get_weather", "weather.get", "getWeather") == (
        "Use GET_WEATHER, or WEATHER.GET; not get_weathers nor my_get_weather. GETWEATHER(1)"
    )


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ("a city by the sea, city: Oslo", "a city by the sea, city: Oslo"),
        ("city(x) and city (old)", "CITY(x) and city (old)"),
        ("city=3, city = 3, city == 3", "CITY=3, CITY = 3, city == 3"),
        ('{"city": "city"}', '{"CITY": "city"}'),
        ('{"name": "city", "id": "city"}', '{"name": "CITY", "id": "city"}'),
        ("give `city` or 'city'", "give `CITY` or 'city'"),
        ("the city parameter, the parameter 'city', cities", "the CITY parameter, the parameter 'CITY', cities"),
    ],
)
def test_an_ordinary_word_is_a_mention_only_where_names_stand(text, renamed):
    assert mentions(text, "city") == renamed


def test_an_identifier_that_is_a_value_too_is_renamed_only_where_names_stand():
    fields = {"type": "array", "items": {"enum": ["wind_speed", "rain"]}}
    tool = Tool("show", "", {"type": "object", "properties": {"wind_speed": {}, "fields": fields}})
    asked = Message("user", 'Show wind_speed. {"wind_speed": 3}')
    task, renaming = obfuscate(Task("t", "s", "c", "l", Context((tool,), (asked,))), 0)
    assert task.context.messages[0].content == f'Show wind_speed. {{"{renaming.names["wind_speed"]}": 3}}'
    assert task.context.tools[0].properties[renaming.names["fields"]]["items"]["enum"] == ["wind_speed", "rain"]


def test_a_tool_result_is_renamed_like_the_call_it_answers():
    call = Call("find_hotel", {"place_id": "7"})
    told = Message("tool", '[{"place_id": "7", "city": "Oslo"}] from find_hotel', name="find_hotel")
    tool = Tool("find_hotel", "Needs place_id.", {"type": "object", "properties": {"place_id": {}}})
    before = Task("t", "s", "c", "l", Context((tool,), (Message("assistant", "", (call,)), told)))
    task, renaming = obfuscate(before, 0)
    find, place = renaming.names["find_hotel"], renaming.names["place_id"]
    assert task.context.messages[1] == Message("tool", f'[{{"{place}": "7", "city": "Oslo"}}] from {find}', name=find)
    assert task.context.tools[0].description == f"Needs {place}."
    assert renaming.invert_task(task) == before


def test_an_answer_is_renamed_with_its_words_and_comes_back():
    answer = Candidate((Call("get_wether", {"city": 1, "town": 2}),), text="I call get_weather.", maker="m")
    _, renaming = obfuscate(TASK, 0, [answer])
    renaming = renaming.with_names_of(answer.calls)
    renamed = renaming.apply_candidate(answer)
    assert renamed.text == f"I call {renaming.names['get_weather']}."
    assert renamed.maker == "m"
    assert not {"get_wether", "city", "town"} & {renamed.calls[0].name, *renamed.calls[0].arguments}
    assert renaming.invert_candidate(renamed) == answer


def test_no_new_name_is_a_word_of_the_sample(monkeypatch):
    """Else the inverse would turn the user's own word into a name."""
    drawn = iter(["abcdef", "ghijkl"])
    monkeypatch.setattr(module, "_draw", lambda rng, taken: next(x for x in drawn if x not in taken))
    tool = Tool("f_1", "", {"type": "object", "properties": {}})
    _, renaming = obfuscate(Task("t", "s", "c", "l", Context((tool,), (Message("user", "abcdef?"),))), 0)
    assert renaming.names == {"f_1": "ghijkl"}


def test_a_wrong_name_gets_its_own_random_string_always_the_same():
    _, renaming = obfuscate(TASK, 0)
    first, second = renaming.apply([Call("get_wether", {"city": 1, "town": 2}), Call("get_wether", {"town": 3})])
    assert NAME.fullmatch(first.name)
    assert first.name == second.name
    assert list(first.arguments)[1] == next(iter(second.arguments))
    assert next(iter(first.arguments)) == renaming.names["city"]
    assert not {first.name, next(iter(second.arguments))} & set(renaming.names.values())
    assert renaming.invert([first])[0] == Call(first.name, {"city": 1, list(first.arguments)[1]: 2})


def test_raw_text_that_could_not_be_parsed_is_renamed_where_names_stand():
    _, renaming = obfuscate(TASK, 0)
    new = renaming.names
    raw = '<tool_call>{"name": "get_weather", "arguments": {"city": "the city of get_weather", "town": 1}</tool_call>'
    assert renaming.apply_text(raw) == raw.replace("get_weather", new["get_weather"]).replace(
        '"city"', f'"{new["city"]}"'
    )
    assert renaming.apply_text("[get_time(city=city), my.city(x=1)") == (
        f"[{new['get_time']}({new['city']}=city), my.city(x=1)"
    )


NAMES = st.text(min_size=1, max_size=6)
ARGUMENTS = st.dictionaries(NAMES, st.none() | st.integers() | st.text(max_size=3) | st.booleans(), max_size=3)


@st.composite
def tasks(draw):
    tools = []
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        kinds = st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {}])
        properties = draw(st.dictionaries(NAMES, kinds, max_size=3))
        required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
        tools.append(Tool(name, "", {"type": "object", "properties": properties, "required": required}))
    known = st.sampled_from([tool.name for tool in tools]) if tools else NAMES
    parameters = sorted({name for tool in tools for name in tool.properties})
    arguments = ARGUMENTS
    if parameters:
        arguments |= st.dictionaries(st.sampled_from(parameters), st.none() | st.integers() | st.text(max_size=3))
    calls = tuple(draw(st.lists(st.builds(Call, known | NAMES, arguments), max_size=3)))
    return Task("t", "s", "c", "l", Context(tuple(tools), ()), Reference(calls))


@settings(deadline=None)
@given(tasks(), st.integers(0, 5))
def test_apply_then_invert_is_the_identity(task, seed):
    renamed, renaming = obfuscate(task, seed)
    assert renaming.invert(renamed.reference.calls) == task.reference.calls
    assert renaming.invert(renaming.apply(task.reference.calls)) == task.reference.calls


@settings(deadline=None)
@given(tasks(), st.integers(0, 5))
def test_what_is_wrong_with_a_call_stays_the_same(task, seed):
    renamed, renaming = obfuscate(task, seed)
    for before, after in zip(task.reference.calls, renamed.reference.calls, strict=True):
        found = [(fault.kind, fault.parameter) for fault in violations(task.context.tools, before)]
        expected = [(kind, renaming.names.get(parameter, parameter)) for kind, parameter in found]
        assert [(fault.kind, fault.parameter) for fault in violations(renamed.context.tools, after)] == expected


WORDS = st.sampled_from(["get_weather", "city", "findHotel", "a.b", "hotels_4", "unit", "name", "Oslo", "qwertz"])
SPEECH = st.lists(
    WORDS | st.sampled_from(['"', "`", ":", "(", "=", " ", ", ", "parameter ", '{"name": "']), max_size=12
)


@st.composite
def conversations(draw):
    """Tasks of several turns whose texts, calls and results speak of the same few names."""
    parameters = {name: {"type": "string", "description": "".join(draw(SPEECH))} for name in draw(st.sets(WORDS))}
    schema = {"type": "object", "properties": parameters}
    tools = [Tool(name, "".join(draw(SPEECH)), schema) for name in sorted(draw(st.sets(WORDS, min_size=1)))]
    arguments = st.dictionaries(WORDS, WORDS | st.integers(), max_size=3)
    messages = []
    for role in ("user", "assistant", "tool", "user"):
        calls = tuple(draw(st.lists(st.builds(Call, WORDS, arguments), max_size=2))) if role == "assistant" else ()
        name = draw(WORDS) if role == "tool" else None
        messages.append(Message(role, "".join(draw(SPEECH)), calls, name))
    reference = Reference(tuple(draw(st.lists(st.builds(Call, WORDS, arguments), max_size=2))))
    return Task("t", "s", "c", "l", Context(tuple(tools), tuple(messages)), reference)


@settings(deadline=None)
@given(conversations(), st.integers(0, 5))
def test_parse_obfuscate_validate_invert_is_the_identity_and_no_name_survives(task, seed):
    parsed = parse_hermes(render_hermes(task.reference.calls))
    assert parsed.calls == task.reference.calls
    renamed, renaming = obfuscate(task, seed)
    faults = [[fault.kind for fault in violations(task.context.tools, call)] for call in parsed.calls]
    assert [[f.kind for f in violations(renamed.context.tools, c)] for c in renamed.reference.calls] == faults
    assert renaming.invert_task(renamed) == task
    survivors = set(renaming.names)
    calls = [call for message in renamed.context.messages for call in message.calls] + [*renamed.reference.calls]
    assert not survivors & {name for call in calls for name in (call.name, *call.arguments)}
    assert not survivors & {name for tool in renamed.context.tools for name in (tool.name, *tool.properties)}
    assert not survivors & {message.name for message in renamed.context.messages}
    loud = {name for name in survivors if is_identifier(name)} - renaming.values
    texts = [message.content for message in renamed.context.messages]
    texts += [text for tool in renamed.context.tools for text in (tool.description, json.dumps(tool.parameters))]
    for name in loud:
        assert not any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for text in texts)


@pytest.mark.parametrize(
    "parameters",
    [
        {"patternProperties": {"^x": {}}},
        {"propertyNames": {"pattern": "^x"}},
        {"allOf": [{"patternProperties": {"^x": {}}}]},
        {"$ref": "#/$defs/all", "$defs": {"all": {}}},
        {"properties": {"a": {"$ref": "#"}}},
    ],
)
def test_schemas_whose_parameters_cannot_be_renamed_for_sure_are_refused(parameters):
    tool = Tool("f", "", {"type": "object", **parameters})
    with pytest.raises(DataError, match="cannot be obfuscated"):
        obfuscate(Task("t", "s", "c", "l", Context((tool,), ())), 0)


def test_a_task_without_reference_tools_or_calls():
    task = Task("t", "s", "c", "l", Context((), (Message("user", "hi"),)))
    assert obfuscate(task, 0)[0] == task
