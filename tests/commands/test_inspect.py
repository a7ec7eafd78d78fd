"""`toolrm inspect`: the card in the terminal, and samples on one page that needs nothing else."""

import fcntl
import os
import re
import subprocess
import sys
import time

import pytest

from toolrm_jax.cli import main
from toolrm_jax.preferences.browse import card_lines
from toolrm_jax.preferences.card import new_card
from toolrm_jax.preferences.shards import write_groups
from toolrm_jax.toolcalls.types import (
    Call,
    Candidate,
    Choice,
    Context,
    ErrorType,
    Group,
    Message,
    Reference,
    Task,
    Tool,
    Verdict,
)  # fmt: skip

EVIL = "<script>alert('x')</script>"


def group(i, source="bfcl"):
    tool = Tool("find", EVIL, {"type": "object", "properties": {"city": {}}})
    context = Context((tool,), (Message("user", f"Question {i} {EVIL}"),))
    right = Call("find", {"city": f"Oslo{i}"})
    task = Task(f"{source}-{i}", source, "c", "Apache-2.0", context, Reference((right,)))
    candidates = (Candidate((right,), maker="reference"), Candidate(text=EVIL, maker="model:m"))
    verdicts = (Verdict(True, 1.0), Verdict(False, 0.25, ErrorType.NUMBER, "0 calls where 1 is right"))
    return Group(task, candidates, verdicts, (Choice(0, 1),), {"city": "qwertz"})


@pytest.fixture
def folder(tmp_path):
    groups = [group(i) for i in range(30)] + [group(i, "rare") for i in range(2)]
    tables = {"pairs by source": {"bfcl": {"all": 30}, "rare": {"all": 2}}}
    sources = {"bfcl": {"licence": "Apache-2.0"}}
    write_groups(tmp_path / "groups", groups, new_card({}, {}, {"not drawn": 7}, {}, tables, sources))
    return tmp_path / "groups"


def test_tables_go_to_the_terminal_and_samples_to_a_page(folder, capsys):
    assert main(["inspect", f"path={folder}", "samples=6"]) == 0
    out = capsys.readouterr().out
    assert "32 groups in 1 shards" in out
    assert re.search(r"7 +not drawn", out)
    assert re.search(r"incorrect number of functions", out)
    assert re.search(r"rare +2\b", out)
    page = folder.with_name("groups.html").read_text()
    assert page.count('<section class="group"') == 6
    assert page.count("rare-") == 2  # the rare source comes in turn with the other
    assert "0 calls where 1 is right" in page
    assert "1 over 2 (0.75)" in page
    assert "was" not in re.findall(r"<dt>qwertz</dt><dd>(.*?)</dd>", page)


@pytest.mark.parametrize(("rows", "columns", "lines"), [(3, 4, 4), (3, 9, 10), (12, 2, 13), (2, 12, 13), (9, 9, 36)])
def test_no_line_is_wider_than_the_terminal_and_no_count_is_lost(rows, columns, lines):
    reasons = [f"reason {j:<9}" for j in range(1, columns + 1)]
    table = {
        f"source number {i}": {name: 1000 * i + j for j, name in enumerate(reasons, 1)} for i in range(1, rows + 1)
    }
    card = new_card({}, {}, {}, {}, {"left out": table})
    told = list(card_lines(card, 120))[3:]
    assert max(map(len, told)) <= 120
    assert len(told) == lines
    counts = [int(word.replace(",", "")) for line in told for word in re.findall(r"\d[\d,]{3,}(?!\w)", line)]
    assert sorted(counts) == sorted(1000 * i + j for i in range(1, rows + 1) for j in range(1, columns + 1))


def test_columns_stand_in_their_order_whichever_row_has_them_first():
    table = {"(0.0, 0.1]": {"8-12": 1}, "(0.1, 0.2]": {"1-2": 2, "21-50": 3}}
    (head,) = (line for line in card_lines(new_card({}, {}, {}, {}, {"t": table})) if "8-12" in line)
    assert head.split() == ["1-2", "8-12", "21-50"]


def test_the_page_needs_no_other_file_and_what_others_wrote_is_text(folder, tmp_path):
    assert main(["inspect", f"path={folder}", f"output={tmp_path / 'page.html'}"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert EVIL not in page
    assert "&lt;script&gt;alert(" in page
    assert not re.search(r"(?:src|href)=|@import|url\(|https?:", page)


def test_the_same_seed_shows_the_same(folder, tmp_path):
    pages = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert main(["inspect", f"path={folder}", f"output={tmp_path / name}", "samples=5", f"seed={seed}"]) == 0
        pages.append((tmp_path / name).read_text())
    assert pages[0] == pages[1] != pages[2]


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="needs a pipe of a chosen size, as Linux has")
def test_a_reader_that_goes_away_ends_it_without_a_word_as_sigpipe_would_and_the_page_is_there(folder):
    """The pipe has no room for all that is said, so whoever writes it waits until the reader is gone."""
    page, (reading, writing) = folder.with_name("groups.html"), os.pipe()
    os.write(writing, bytes(fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096) - 512))
    page.unlink(missing_ok=True)
    command = [sys.executable, "-m", "toolrm_jax", "inspect", f"path={folder}"]
    line_by_line = os.environ | {"PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, env=line_by_line)
    os.close(writing)
    while not page.is_file():  # written after the settings are said, and before the tables
        assert running.poll() is None
        time.sleep(0.01)
    os.close(reading)
    assert (running.communicate()[1], running.returncode) == (b"", 141)


def test_a_folder_that_is_none_is_one_line(tmp_path, folder, fails):
    assert "no complete data here" in fails("inspect", f"path={tmp_path / 'none'}")
    assert "samples=0" in fails("inspect", f"path={folder}", "samples=0")
