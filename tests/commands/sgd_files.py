"""A small Schema-Guided Dialogue in the published form, for tests of what many dialogues are turned into."""

import json
from pathlib import Path

CITIES = ("Oslo", "Rome", "Bonn", "Kiel", "Ulm", "Jena", "Gera", "Hof", "Trier", "Mainz", "Essen", "Fulda")
SLOTS = ("city", "stars", "nights")


def _schema() -> list[dict]:
    slots = [
        {"name": name, "description": f"The {name}", "is_categorical": False, "possible_values": []} for name in SLOTS
    ]
    intents = [
        {"name": "FindHotel", "description": "Find one", "required_slots": ["city"], "optional_slots": {"stars": "3"}},
        {"name": "BookHotel", "description": "Book it", "required_slots": ["city", "nights"], "optional_slots": {}},
    ]
    for intent in intents:
        intent |= {"is_transactional": False, "result_slots": []}
    return [{"service_name": "Hotels_9", "description": "Hotels", "slots": slots, "intents": intents}]


def _user(said: str, **values: str) -> dict:
    actions = [{"act": "INFORM", "slot": k, "values": [v], "canonical_values": [v]} for k, v in values.items()]
    state = {"active_intent": "FindHotel", "requested_slots": [], "slot_values": {k: [v] for k, v in values.items()}}
    frame = {"service": "Hotels_9", "actions": actions, "slots": [], "state": state}
    return {"speaker": "USER", "utterance": said, "frames": [frame]}


def _system(said: str, method: str = "", **parameters: str) -> dict:
    frame = {"service": "Hotels_9", "actions": [], "slots": []}
    if method:
        frame |= {"service_call": {"method": method, "parameters": parameters}, "service_results": [{"city": "x"}]}
    return {"speaker": "SYSTEM", "utterance": said, "frames": [frame]}


def dialogue(name: str, city: str, other: str, nights: int) -> dict:
    """Ask, find, change of mind, book: three decision points with a call and one without."""
    turns = [
        _user(f"I need a hotel, please, {name}."),
        _system("In which city?"),
        _user(f"In {city}, with {nights + 1} stars, quiet as {name} was.", city=city, stars=str(nights + 1)),
        _system("There is the Grand.", "FindHotel", city=city, stars=str(nights + 1)),
        _user(f"Then rather {other}.", city=other),
        _system("There is the Ritz.", "FindHotel", city=other, stars=str(nights + 1)),
        _user(f"Book it for {nights} nights.", nights=str(nights)),
        _system("Done.", "BookHotel", city=other, nights=str(nights)),
    ]
    return {"dialogue_id": name, "services": ["Hotels_9"], "turns": turns}


def write_sgd(folder: Path, files: int = 4, dialogues: int = 3) -> Path:
    """A folder with one split of so many files of so many dialogues each."""
    train = folder / "train"
    train.mkdir(parents=True)
    (train / "schema.json").write_text(json.dumps(_schema()))
    for file in range(files):
        made = []
        for number in range(dialogues):
            i = file * dialogues + number
            cities = CITIES[i % len(CITIES)], CITIES[(i * 5 + 1) % len(CITIES)]
            made.append(dialogue(f"{file + 1}_{number:05d}", *cities, i % 4 + 1))
        (train / f"dialogues_{file + 1:03d}.json").write_text(json.dumps(made))
    return folder


def words(recipe: str, sgd: Path, output: Path, *more: str) -> list[str]:
    """`toolrm prepare` of a few pairs of these dialogues, in so small shards and units that there are several."""
    few = ["data.benchmarks=", "pairs=60", "held_out=6", "run.shard_tasks=5", "run.shard_groups=7"]
    few += ["no_call=1.0"] if recipe == "outcome" else []
    return ["prepare", f"config=data/{recipe}", f"data.sources=sgd={sgd}", f"output={output}", *few, *more]
