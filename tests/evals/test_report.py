"""The report is one safe HTML file with its numbers beside it, and says what was and was not measured."""

import dataclasses
import html.parser
import json
import math
import re
import xml.etree.ElementTree

import pytest

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals import metrics, report, report_plots
from toolrm_jax.evals.metrics import Outcome
from toolrm_jax.evals.report import Command, Curve, Evaluation, JudgeResult, RunReport
from toolrm_jax.toolcalls.types import Call, Candidate, Context, ErrorType, Group, Message, Task, Tool, Verdict


def judged(won, n, kinds=(ErrorType.VALUE, ErrorType.NUMBER)):
    """Outcomes of n tasks, of which the first `won` are won."""
    return tuple(Outcome(f"t{k}", "simple", kinds[k % len(kinds)], float(k < won), 0.5) for k in range(n))


def evaluation(name="real wrong calls", real=True):
    results = (
        JudgeResult("hand rule", judged(60, 100), "schemas & shares"),
        JudgeResult("my model", judged(84, 100)),
    )
    return Evaluation(name, real, results, "Made up for a test.")


RUN = RunReport(
    title="A run",
    backbone="Tiny-1M",
    what="40 questions",
    trained="my model",
    evaluations=(evaluation(),),
    loss=Curve("training loss", (1, 2, 3), (0.7, math.pi / 8, 0.3)),
    held_out=Curve("held-out accuracy", (1, 3), (0.5, 0.9)),
    mistakes=(
        report.Mistake(
            "real wrong calls",
            "t1",
            "simple",
            ErrorType.VALUE,
            "user: <script>alert(1)</script>",
            "",
            "r&",
            "<b>",
            0,
            1,
        ),
    ),
    facts=(("licence", "Apache-2.0"),),
    config={"train": {"seed": 3}},
    commands=(Command("this run", "toolrm quickstart seed=3"),),
    next_commands=(Command("score", "toolrm score <x>"),),
)


class Page(html.parser.HTMLParser):
    """The page's text and every attribute that could fetch."""

    def __init__(self, source):
        super().__init__()
        self.words, self.fetches, self.tags = [], [], set()
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        values = dict(attributes)
        self.fetches += [
            f"{tag} {name}" for name in ("src", "href", "xlink:href", "srcset", "data") if not _own(values.get(name))
        ]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def _own(address):
    return address is None or address.startswith(("#", "data:"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = report.write_report(tmp_path_factory.mktemp("report") / "report.html", RUN)
    return path, Page(path.read_text())


def test_the_page_fetches_nothing_and_runs_nothing(written):
    path, page = written
    assert page.fetches == []
    assert not page.tags & {"script", "link", "iframe", "img"}
    assert not re.search(r"@import|url\((?!#)", path.read_text())


def test_texts_that_models_wrote_are_shown_as_text(written):
    path, page = written
    assert "<script>alert(1)</script>" in page.text
    assert "<script" not in path.read_text()
    assert "<pre>&lt;b&gt;</pre>" in path.read_text()


def test_the_headline_says_what_was_trained_on_what_and_its_number(written):
    _, page = written
    assert "Tiny-1M was trained on 40 questions." in page.text
    assert "above a wrong call that a real model wrote in 84.0 % of 100 pairs" in page.text
    assert "No real wrong calls were judged" not in page.text


def test_the_standing_is_the_paired_difference(written):
    _, page = written
    found = metrics.compare(judged(84, 100), judged(60, 100))
    assert f"24.0 points above hand rule (95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f})" in page.text


def test_config_commands_and_card_are_shown(written):
    _, page = written
    for words in ('"seed": 3', "toolrm quickstart seed=3", "toolrm score <x>", "Apache-2.0", "schemas & shares"):
        assert words in page.text


def test_the_numbers_beside_the_page_are_those_of_the_metrics(written):
    path, _ = written
    found = json.loads(path.with_suffix(".json").read_text())
    assert RunReport.from_json(found["run"]) == RUN
    shown = found["results"]["real wrong calls"]["by error type"]["my model"]
    assert shown["all pairs"] == metrics.accuracy(judged(84, 100)).to_json()
    assert shown["without wrong-number pairs"]["pairs"] == 50
    assert shown["incorrect number of functions"]["value"] == 42 / 50


def test_without_real_wrong_calls_it_says_so(tmp_path):
    run = dataclasses.replace(RUN, evaluations=(evaluation("made mistakes", real=False),))
    page = Page(report.write_report(tmp_path / "r.html", run).read_text())
    assert "No real wrong calls were judged" in page.text
    assert "above a mistake made by rules" in page.text


def test_a_trained_model_that_was_not_judged_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(ConfigError, match="no result of 'other'"):
        report.write_report(tmp_path / "r.html", dataclasses.replace(RUN, trained="other"))
    with pytest.raises(ConfigError, match="at least one evaluation"):
        report.write_report(tmp_path / "r.html", dataclasses.replace(RUN, evaluations=()))
    assert list(tmp_path.iterdir()) == []


def test_ids_are_unique_across_the_pictures(written):
    path, _ = written
    pictures = re.findall(r"<svg.*?</svg>", path.read_text(), re.DOTALL)
    ids = [set(re.findall(r'\bid="([^"]+)"', picture)) for picture in pictures]
    assert len(pictures) == 7  # all pairs, without numbers, two error types, histogram, loss, held-out accuracy
    assert sum(map(len, ids)) == len(set().union(*ids))
    for picture, own in zip(pictures, ids):
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', picture)) <= own


@pytest.mark.parametrize(
    "svg",
    [
        report_plots.curve("loss & more", (1, 2), (0.5, 0.25), False, "k"),
        report_plots.histogram([1.0, 1.0], [1.0], "k"),
        report_plots.judges_panel("a < b", [("j & $k$ $", metrics.accuracy(judged(3, 4)), True)], "k"),
    ],
    ids=["curve", "histogram", "panel"],
)
def test_pictures_are_well_formed_and_take_the_pages_colours(svg):
    xml.etree.ElementTree.fromstring(svg)
    assert "var(--ink)" in svg
    assert not re.search(r"#0[1-6]0[1-6]0[1-6]", svg)


def test_dollars_in_a_judges_name_are_no_mathematics():
    svg = report_plots.judges_panel("all", [("a $x$ b_$", metrics.accuracy(judged(3, 4)), True)], "k")
    assert "a $x$ b_$" in svg


def test_pictures_are_the_same_each_time():
    assert len({report_plots.histogram([1.0, 2.0], [0.0], "k") for _ in range(2)}) == 1


def test_confident_mistakes_come_by_margin_one_of_a_task():
    tools = (Tool("f", "does f", {"type": "object", "properties": {}}), Tool("g", "", {"type": "object"}))
    verdicts = (Verdict(True, 1.0), Verdict(False, 0.0, ErrorType.NAME), Verdict(False, 0.0, ErrorType.VALUE))

    def group(name):
        task = Task(name, "s", "c", "l", Context(tools, (Message("user", "say " + "é" * 3000),)))
        return Group(task, (Candidate((Call("f", {}),)), Candidate(), Candidate((Call("f", {"x": 1}),))), verdicts)

    found = report.confident_mistakes(
        "e", [group("good"), group("tied"), group("bad")], [[2, 1, 1], [1, 1, 0], [0, 2, 5]], 5
    )
    assert [(m.task, m.error_type, m.right_score, m.wrong_score) for m in found] == [
        ("bad", ErrorType.VALUE, 0.0, 5.0),
        ("tied", ErrorType.NAME, 1.0, 1.0),
    ]
    assert found[1].wrong == "(no answer)"
    assert '{"name": "f", "arguments": {"x": 1}}' in found[0].wrong
    assert found[0].conversation.endswith("… (1,210 more characters)")
    assert "also on offer: g" in found[0].tools
    assert len(report.confident_mistakes("e", [group("a"), group("b")], [[0, 1, 1]] * 2, 1)) == 1


def test_a_curve_needs_a_step_for_each_value():
    with pytest.raises(DataError, match="2 steps but 1 values"):
        Curve("loss", (1, 2), (0.5,))
    with pytest.raises(DataError, match="finite"):
        Curve("loss", (1, 2), (0.5, math.nan))
