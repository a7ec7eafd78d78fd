"""The command line: what it answers at once, and how it ends."""

import resource
import subprocess
import sys

import pytest

from toolrm_jax import cli
from toolrm_jax.commands import prepare
from toolrm_jax.errors import DataError


def test_help_names_every_command_in_under_half_a_second_without_heavy_imports():
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from toolrm_jax.cli import main\n"
        "assert main(['--help']) == 0\n"
        "print(time.perf_counter() - start, *({'jax', 'chz', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    fastest = 9.0
    for _ in range(3):  # the machine may be busy: of processor time, the fastest of three is what the code costs
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        fastest = min(fastest, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert fastest < 0.5
    assert len(done.stdout.splitlines()[-1].split()) == 1, done.stdout
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_all_its_settings(command, capsys):
    assert cli.main([command, "--help"]) == 0
    page = capsys.readouterr().out
    lines = page[page.index("Settings") :].splitlines()[1:]
    assert lines
    assert [line for line in lines if len(line.split("  ")) < 4] == []


def test_python_m_is_the_same_and_errors_go_to_stderr_with_exit_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "toolrm_jax", "trian"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "toolrm: unknown command 'trian'; did you mean 'train'?\n"


def raises(error):
    def run(config, overwrite=False):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (DataError("a file:\n is bad"), 2, "toolrm: a file: is bad\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "toolrm: /x: Permission denied; name another path"),
        (KeyboardInterrupt(), 130, "toolrm: interrupted"),
    ],
)
def test_what_a_user_can_cause_is_one_line(error, code, says, monkeypatch, capsys):
    monkeypatch.setattr(prepare, "run", raises(error))
    assert cli.main(["prepare"]) == code
    told = capsys.readouterr().err
    assert told.startswith(says)
    assert told.count("\n") == 1


def test_toolrm_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("TOOLRM_DEBUG", "1")
    monkeypatch.setattr(prepare, "run", raises(DataError("bad")))
    with pytest.raises(DataError):
        cli.main(["prepare"])


def test_a_fault_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setattr(prepare, "run", raises(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["prepare"])
