import json
import os
import pickle
import shutil
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.preferences.card import Card, card_hash, card_markdown, new_card, read_card
from toolrm_jax.preferences.shards import (
    check_shards,
    decode_group,
    encode_group,
    fingerprint,
    put_shard,
    read_groups,
    write_groups,
)
from toolrm_jax.toolcalls.types import (
    Call,
    Candidate,
    Context,
    ErrorType,
    Group,
    Message,
    Reference,
    Task,
    Tool,
    Verdict,
)


def group(i, text="why?"):
    # "z" before "a": the order of keys is what the model saw, and must come back as it was
    tool = Tool("f", "does f", {"type": "object", "properties": {"z": {"type": "integer"}, "a": {"type": "string"}}})
    context = Context((tool,), (Message("user", f"{text} {i}"),))
    task = Task(
        f"t{i}", "bfcl" if i % 2 else "xlam", "simple", "Apache-2.0", context, Reference((Call("f", {"z": i}),))
    )
    candidates = (Candidate((Call("f", {"z": i, "a": text}),), maker="reference"), Candidate(maker="rule:number"))
    return Group(task, candidates, (Verdict(True, 1.0), Verdict(False, 0.0, ErrorType.NUMBER, "0 calls for 1")))


def card(**config):
    return new_card({"seed": 0, **config}, {"bfcl": "ab"}, {"no reference": 2}, {"tasks joined": 1})


def write(folder, count=10, shard_size=4, overwrite=False, **config):
    return write_groups(folder, map(group, range(count)), card(**config), shard_size, overwrite)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_groups_come_back_as_they_were_and_in_any_order(tmp_path):
    write(tmp_path / "out")
    groups = read_groups(tmp_path / "out")
    assert len(groups) == 10
    assert list(groups) == [group(i) for i in range(10)]
    assert groups[-1] == groups[9] == group(9)
    assert groups[2:8:3] == [group(2), group(5)]
    assert list(groups[3].candidates[0].calls[0].arguments) == ["z", "a"]
    with pytest.raises(IndexError):
        groups[10]


def test_an_open_folder_can_be_sent_to_a_worker(tmp_path):
    write(tmp_path / "out")
    groups = read_groups(tmp_path / "out")
    assert groups[0] == group(0)
    assert list(pickle.loads(pickle.dumps(groups))) == list(groups)


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_text_survives_even_lone_surrogates(text):
    assert decode_group(encode_group(group(1, text))) == group(1, text)


def test_shards_have_the_asked_size_and_the_card_describes_them(tmp_path):
    written = write(tmp_path / "out")
    assert [(shard.name, shard.groups) for shard in written.shards] == [
        ("groups-00000.array_record", 4),
        ("groups-00001.array_record", 4),
        ("groups-00002.array_record", 2),
    ]
    assert read_card(tmp_path / "out") == written == check_shards(tmp_path / "out")
    assert written.groups == 10
    assert written.counts == {
        "source": {"bfcl": 5, "xlam": 5},
        "category": {"simple": 10},
        "licence": {"Apache-2.0": 10},
        "verdict": {"right": 10, "wrong": 10},
        "maker": {"reference": 10, "rule:number": 10},
        "error type": {"incorrect number of functions": 10},
    }
    assert (written.drops, written.changes) == ({"no reference": 2}, {"tasks joined": 1})
    assert "array_record" in written.versions


def test_the_same_groups_give_the_same_bytes(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 4


def test_a_second_run_does_nothing_and_draws_no_group(tmp_path):
    written = write(tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}

    def never():
        raise AssertionError("a group was drawn")
        yield

    assert write_groups(tmp_path / "out", never(), card()) == written
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_another_config_is_refused_unless_overwrite_is_said(tmp_path):
    write(tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"config\.seed=0, now 1; say overwrite=true") as caught:
        write(tmp_path / "out", seed=1)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path / "out") == before
    write(tmp_path / "out", count=3, seed=1, overwrite=True)
    assert list(read_groups(tmp_path / "out")) == [group(0), group(1), group(2)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["card.json", "groups-00000.array_record"]


def test_a_writer_killed_in_the_middle_leaves_nothing_and_can_start_again(tmp_path):
    script = """
import os, signal, sys
sys.path.insert(0, os.path.dirname(sys.argv[2]))
from test_shards import card, group, write_groups
def groups():
    for i in range(6):
        yield group(i)
    os.kill(os.getpid(), signal.SIGKILL)
write_groups(sys.argv[1], groups(), card(), 2)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out"), __file__], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / ".out.partial").iterdir()] != []  # it was killed while it wrote
    write(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]
    assert len(read_groups(tmp_path / "out")) == 10


@pytest.mark.parametrize("fault", [KeyboardInterrupt, DataError])
def test_a_fault_while_writing_leaves_nothing(tmp_path, fault):
    def groups():
        yield from map(group, range(6))
        raise fault

    with pytest.raises(fault):
        write_groups(tmp_path / "out", groups(), card(), 2)
    assert os.listdir(tmp_path) == []


def test_no_group_at_all_is_an_error_that_says_why(tmp_path):
    with pytest.raises(DataError, match="no group to write; dropped: 2 no reference"):
        write(tmp_path / "out", count=0)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ConfigError, match="shard_size=0"):
        write(tmp_path / "out", shard_size=0)


def remove_card(folder):
    (folder / "card.json").unlink()


def break_card(folder):
    (folder / "card.json").write_text("[1")


def foreign_card(folder):
    (folder / "card.json").write_text('{"config": {}}')


def remove_shard(folder):
    (folder / "groups-00001.array_record").unlink()


def cut_shard(folder):
    shard = folder / "groups-00001.array_record"
    shard.write_bytes(shard.read_bytes()[:-9])


def swap_count(folder):
    card = json.loads((folder / "card.json").read_text())
    card["shards"][0]["groups"] = 5
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (shutil.rmtree, "card.json is missing"),
        (remove_card, "card.json is missing"),
        (break_card, "not a data card"),
        (foreign_card, "not a data card"),
        (remove_shard, "is missing, though the card names it"),
        (cut_shard, "bytes, the card says"),
        (swap_count, "the shards hold 10 groups, the card says 11"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_in_one_line(tmp_path, damage, says):
    write(tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(DataError, match=says) as caught:
        read_groups(tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert "out" in str(caught.value)


def test_a_damaged_shard_is_found_when_read_when_checked_and_when_written_again(tmp_path):
    write(tmp_path / "out", count=200, shard_size=200)
    shard = tmp_path / "out" / "groups-00000.array_record"
    data = bytearray(shard.read_bytes())
    part = slice(len(data) // 5, len(data) // 5 + 64)  # in the records; the second half of the file is padding
    data[part] = bytes(byte ^ 0xFF for byte in data[part])
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"group \d+ is damaged") as caught:
        list(read_groups(tmp_path / "out"))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="does not match the sha256"):
        check_shards(tmp_path / "out")
    with pytest.raises(DataError, match="does not match the sha256"):
        write(tmp_path / "out", count=200, shard_size=200)


def test_a_record_that_is_no_group_is_one_line():
    for record in (b"\xff", b"{", b"[]", b'{"task": 1}', b"[" * 100_000):
        with pytest.raises(DataError):
            decode_group(record)


def test_the_hash_of_a_card_changes_with_the_data(tmp_path):
    one, same, other = write(tmp_path / "1"), write(tmp_path / "2"), write(tmp_path / "3", count=9)
    assert card_hash(one) == card_hash(same) == card_hash(read_card(tmp_path / "1"))
    assert card_hash(one) != card_hash(other)
    assert one.config_hash != card(seed=1).config_hash


def test_a_card_reads_as_markdown(tmp_path):
    written = write(tmp_path / "out")
    text = card_markdown(written)
    for line in (
        "10 groups in 3 shards.",
        "| bfcl | 5 |",
        "| Apache-2.0 | 10 |",
        "| incorrect number of functions | 10 |",
        "| no reference | 2 |",
        "| tasks joined | 1 |",
        f"| groups-00002.array_record | 2 groups, `{written.shards[2].sha256}` |",
        '"seed": 0',
        card_hash(written),
    ):
        assert line in text


def test_a_card_survives_json():
    made = card()
    assert Card.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_fingerprint_ignores_order_and_sees_any_change():
    tasks = [group(i).task for i in range(3)]
    assert fingerprint(tasks) == fingerprint(reversed(tasks))
    assert fingerprint(tasks) != fingerprint([*tasks[:2], group(2, "who?").task])


def test_a_shard_stopped_half_way_is_not_there_under_its_name(tmp_path):
    records = [encode_group(group(i)) for i in range(5)]

    def stopped():
        yield from records[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_shard(tmp_path, "groups-00000.array_record", stopped())
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    made = put_shard(tmp_path, "groups-00000.array_record", records)
    assert (made.name, made.groups, made.bytes) == (
        "groups-00000.array_record",
        5,
        (tmp_path / made.name).stat().st_size,
    )
