"""Settings: base config, then bindings, then the command line; unknown and ill-typed ones are told in one line."""

import json

import chz
import pytest

from toolrm_jax.commands import settings
from toolrm_jax.errors import ConfigError


@chz.chz
class Inner:
    rate: float = 0.5  # how fast
    names: tuple[str, ...] = ("a",)  # of whom


@chz.chz
class Outer:
    output: str = "here"  # where
    limit: int | None = None  # how many
    inner: Inner = chz.field(default_factory=lambda: Inner(rate=0.25))
    loud: bool = False  # or not


@chz.chz
class Needs:
    model: str  # must be said


CONFIG = """
from tests_settings_types import Inner, Outer

def config():
    return Outer(output="file", inner=Inner(rate=2.0, names=("x", "y")))
"""


def resolve(*words, kind=Outer, base=None):
    return settings.resolve("cook", kind, words, base)


@pytest.fixture
def config_file(tmp_path, monkeypatch):
    import sys
    import types

    module = types.ModuleType("tests_settings_types")
    module.Inner, module.Outer = Inner, Outer
    monkeypatch.setitem(sys.modules, module.__name__, module)
    path = tmp_path / "mine.py"
    path.write_text(CONFIG)
    return path


def test_without_words_a_config_is_its_defaults_nested_ones_too():
    resolved = resolve()
    assert resolved.config == Outer()
    assert resolved.config.inner.rate == 0.25
    assert (resolved.overwrite, resolved.difference) == (False, ("toolrm cook",))


def test_words_are_typed_and_the_rest_of_their_section_stays():
    config = resolve("inner.names=p,q", "limit=3", "loud=true", "overwrite=true")
    assert config.config == Outer(limit=3, inner=Inner(rate=0.25, names=("p", "q")), loud=True)
    assert config.overwrite
    assert config.difference == ("toolrm cook, with", "  limit=3", "  inner.names=p,q", "  loud=True")


def test_the_command_line_beats_bindings_which_beat_the_config_file(config_file, tmp_path):
    bindings = tmp_path / "b.gin"
    bindings.write_text("# a comment\n\ninner.rate = 3.5  # faster\noutput = 'bound # not a comment'\nlimit = 7\n")
    resolved = resolve(f"config={config_file}", f"bindings={bindings}", "limit=9")
    assert resolved.config.inner == Inner(rate=3.5, names=("x", "y"))
    assert (resolved.config.output, resolved.config.limit) == ("bound # not a comment", 9)
    assert resolved.difference[1:] == ("  output=bound # not a comment", "  limit=9", "  inner.rate=3.5")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["limt=3"], "unknown setting 'limt'; did you mean 'limit'?"),
        (["inner.raet=3"], "did you mean 'inner.rate'?"),
        (["rate=3"], "did you mean 'inner.rate'?"),
        (["zzz=1"], "known: output, limit"),
        (["limit=many"], "limit=many: expected int | None"),
        (["inner.rate=fast"], "inner.rate=fast: expected float"),
        (["loud=perhaps"], "loud=perhaps: expected bool"),
        (["inner=3"], "inner=3: expected a section"),
        (["limit"], "'limit': settings are written key=value"),
        (["--limit=3"], "settings are written key=value"),
        (["overwrite=yes"], "overwrite=yes: expected true or false"),
        (["config=quickstrat"], "no such config; did you mean 'quickstart'?"),
        (["config=/no/file.py"], "no such Python file"),
        (["bindings=/no/file"], "cannot be read"),
    ],
)
def test_a_wrong_word_is_told_in_one_line(words, says):
    with pytest.raises(ConfigError) as caught:
        resolve(*words)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_setting_that_must_be_given_is_named():
    with pytest.raises(ConfigError, match="cook: model is not given"):
        resolve(kind=Needs)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def config(:", "SyntaxError"),
        ("import nothing_like_this", "nothing_like_this"),
        ("x = 1", "no function config"),
        ("def config():\n return 3", "holds the settings of"),
    ],
)
def test_a_config_file_that_is_none_is_told(tmp_path, text, says):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        resolve(f"config={path}")


def test_a_line_that_binds_nothing_is_told_with_its_number(tmp_path):
    path = tmp_path / "b.gin"
    path.write_text("limit = 1\nlimit\n")
    with pytest.raises(ConfigError, match=r"b\.gin:2: 'limit' is no line"):
        resolve(f"bindings={path}")


def test_a_saved_config_is_read_back_and_differences_are_found(tmp_path):
    config = Outer(limit=3, inner=Inner(names=("p", "q")))
    settings.save(config, tmp_path)
    assert settings.from_json(Outer, json.loads((tmp_path / "config.json").read_text())) == config
    assert settings.saved_difference(config, tmp_path) is None
    other = chz.replace(config, output="there", inner=Inner(rate=9.0, names=("p", "q")))
    assert settings.saved_difference(other, tmp_path, "output") == ("inner.rate", "0.5", "9.0")
    assert settings.saved_difference(other, tmp_path, "output", "inner.rate") is None


def test_a_setting_that_an_older_version_did_not_have_stands_at_its_default(tmp_path):
    config = Outer(limit=3, inner=Inner())
    older = settings.as_json(config, "inner.rate")
    (tmp_path / "config.json").write_text(json.dumps(older))
    assert settings.saved_difference(config, tmp_path) is None
    other = chz.replace(config, inner=Inner(rate=9.0))
    assert settings.saved_difference(other, tmp_path) == ("inner.rate", "0.5", "9.0")
    (tmp_path / "config.json").write_text(json.dumps(older | {"gone": 1}))
    assert settings.saved_difference(config, tmp_path) == ("gone", "1", "absent")


@pytest.mark.parametrize("name", ["quickstart", "qwen2p5_coder_0p5b", "qwen3_0p6b"])
def test_every_named_config_loads_and_leaves_its_paths_to_the_command(name):
    from toolrm_jax.commands import quickstart

    values = settings.leaves(settings.load_config(name, quickstart.Config))
    assert [values[own] for own in quickstart.OWN] == [""] * len(quickstart.OWN)


def test_a_value_that_is_none_of_the_choices_is_told_before_anything_runs(fails):
    said = fails("score", "model=m", "input=i", "output=o", "compute_dtype=int3")
    assert "compute_dtype=int3: expected Literal['float32', 'bfloat16']" in said
