"""Small groups for the tests of this folder."""

from toolrm_jax.toolcalls.types import Call, Candidate, Context, ErrorType, Group, Message, Task, Tool, Verdict

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = Tool("weather", "Reads it.", CITY)


def group(name, right, wrong, category="simple_python", kinds=None, tools=(TOOL,)):
    """A group whose answers ask for the weather of the cities named; right ones first."""
    context = Context(tuple(tools), (Message("user", "Weather in Ulm?"),))
    candidates = tuple(Candidate((Call("weather", {"city": city}),), maker="model:m") for city in (*right, *wrong))
    kinds = kinds or [ErrorType.VALUE] * len(wrong)
    verdicts = [Verdict(True, 1.0)] * len(right) + [Verdict(False, 0.0, kind) for kind in kinds]
    return Group(Task(name, "test", category, "", context), candidates, tuple(verdicts))
