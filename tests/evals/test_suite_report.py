"""The suite's page: self-contained, every number with its interval and n, published rows beside ours."""

import html.parser
import json
import re
import xml.etree.ElementTree

import pytest

from tests.evals.making import group
from toolrm_jax.errors import DataError
from toolrm_jax.evals import best_of_n, perturb, report_plots, rotbench
from toolrm_jax.evals.benchmark import Drawing, Measure, Published
from toolrm_jax.evals.published import SINGLE
from toolrm_jax.evals.report import Mistake
from toolrm_jax.evals.results import NO_MODEL, Judged, Result, Suite, load, model_index, save
from toolrm_jax.evals.suite_report import write_suite_report
from toolrm_jax.evals.suite_view import labels
from toolrm_jax.toolcalls.types import ErrorType

NOISY = [ErrorType.NAME, ErrorType.VALUE, ErrorType.VALUE]
MEASURES = (Measure("W-Avg", 0.771, 0.755, 0.786, 2983), Measure("S", 0.5, 0.4, 0.6, 137, "by split"))
DRAWING = Drawing("calibration", "σ", "won", (("pairs", ((0.6, 0.7, 0.6, 0.8), (0.9, 0.8, 0.7, 0.9))),), diagonal=True)
JUDGED = Judged(
    "TRBench-BFCL",
    "As published.",
    True,
    1397,
    (
        Result("reward model", SINGLE, MEASURES, headline=(("", "W-Avg"),)),
        Result("random", SINGLE, MEASURES, "", "3 of 9 held no choice", (("", "W-Avg"),)),
    ),
    (("pairs", "2,983"),),
    (Published("Other-RM", SINGLE, {"W-Avg": 0.7325}, "arXiv 1"),),
    (Measure("score with length", -0.25, -0.3, -0.2, 40, "leanings", "rank r"),),
    (DRAWING,),
    (Mistake("x", "t1", "c", ErrorType.VALUE, "user: <script>alert(1)</script>", "", "r&", "<b>", 0, 1),),
    {"forward pass": 12.5},
)
SUITE = Suite("runs/a", "toolrm eval benchmark=trbench model=runs/a", (JUDGED,), {"seed": 0})


class Page(html.parser.HTMLParser):
    """Its text, tags, and attributes that would fetch."""

    def __init__(self, source):
        super().__init__()
        self.words, self.fetched, self.tags = [], [], set()
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.fetched += [v for k, v in attributes if k in ("src", "href", "xlink:href") and not v.startswith("#")]

    def handle_data(self, data):
        self.words.append(data)


def written(tmp_path, suites=(SUITE,)):
    path = write_suite_report(tmp_path / "report.html", suites)
    return Page(path.read_text()), path


def test_every_number_has_its_interval_and_n_and_the_command_is_told(tmp_path):
    page, _ = written(tmp_path)
    text = " ".join(page.words)
    for part in (
        "77.1",
        "75.5–78.6",
        "n = 2,983",
        "−0.250",
        "3 of 9 held no choice",
        SUITE.command,
        "forward pass 12.5",
    ):
        assert part in text, part


def test_published_rows_stand_beside_ours_with_their_source_and_no_interval(tmp_path):
    page, path = written(tmp_path)
    assert "Other-RM" in page.words
    assert "73.2" in path.read_text()
    row = path.read_text().partition("Other-RM")[2].partition("</tr>")[0]
    assert "–" not in row.partition("73.2")[2][:60]


def test_nothing_is_fetched_and_no_text_of_a_model_becomes_markup(tmp_path):
    page, path = written(tmp_path)
    assert page.fetched == []
    assert "script" not in page.tags
    assert "&lt;script&gt;" in path.read_text()


def test_two_runs_stand_in_the_same_tables(tmp_path):
    other = Suite("runs/b", "toolrm eval model=runs/b", (JUDGED,))
    page, _ = written(tmp_path, (SUITE, other))
    text = " ".join(page.words)
    assert text.count("runs/a") > 2
    assert text.count("runs/b") > 2


def overview_of(page_text):
    """The rows of the first table: (judge with its run, cells)."""
    body = page_text.partition("At a glance")[2].partition("<tbody>")[2].partition("</tbody>")[0]
    rows = [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip() for row in body.split("<tr")[1:]]
    return [row.partition(">")[2].strip() for row in rows]


def test_runs_of_one_model_are_told_apart_by_their_folders_and_each_keeps_its_numbers(tmp_path):
    def run(folder, value, n):
        measure = Measure("W-Avg", value, value - 0.1, value + 0.1, n)
        result = Result("reward model", SINGLE, (measure,), headline=(("", "W-Avg"),))
        judged = Judged("TRBench-BFCL", "", True, n, (result,))
        return Suite("runs/rm", f"toolrm eval output={folder}", (judged,), {"output": folder})

    suites = (run("eval_top", 0.7, 2983), run("eval_random", 0.6, 2983), run("eval_all", 0.5, 200))
    assert labels(suites) == ["runs/rm (eval_top)", "runs/rm (eval_random)", "runs/rm (eval_all)"]
    assert labels((suites[0], suites[0])) == ["runs/rm (eval_top), 1", "runs/rm (eval_top), 2"]
    _, path = written(tmp_path, suites)
    rows = overview_of(path.read_text())
    assert rows == [
        "reward model runs/rm (eval_top) 70.0 60.0–80.0 n = 2,983",
        "reward model runs/rm (eval_random) 60.0 50.0–70.0 n = 2,983",
        "reward model runs/rm (eval_all) 50.0 40.0–60.0 n = 200",
    ]
    lines = path.with_suffix(".md").read_text()
    assert "| reward model (runs/rm (eval_all)) | 50.0 (40.0 to 60.0), n = 200 |" in lines
    # Of one n, it stands above the column.
    _, path = written(tmp_path, suites[:2])
    assert overview_of(path.read_text())[0] == "reward model runs/rm (eval_top) 70.0 60.0–80.0"
    assert "W-Avg (n = 2,983)" in path.with_suffix(".md").read_text()


def test_two_benchmarks_of_one_name_are_refused():
    with pytest.raises(DataError, match="two benchmarks of one run are called 'TRBench-BFCL'"):
        Suite("runs/a", "", (JUDGED, JUDGED))


def test_results_come_back_from_disk_and_the_same_numbers_are_markdown_and_metadata(tmp_path):
    save(SUITE, tmp_path)
    assert load(tmp_path) == SUITE
    _, path = written(tmp_path)
    lines = path.with_suffix(".md").read_text()
    for line in (
        "| reward model | 77.1 (75.5 to 78.6) |",
        "| reward model | 50.0 (40.0 to 60.0) |",
        "* random: 3 of 9 held no choice",
        "| Other-RM (arXiv 1) | 73.2 |",
        "| score with length | leanings | -0.250 (-0.300 to -0.200) | rank r | 40 |",
        "pairs: 2,983.",
    ):
        assert line in lines, line
    (index,) = model_index(SUITE, "a")
    (result,) = index["results"]
    assert result["metrics"] == [
        {
            "type": "accuracy",
            "name": f"{SINGLE}, W-Avg (95 % interval 75.50 to 78.60, n = 2983)",
            "value": 77.1,
        }
    ]
    assert json.loads((tmp_path / "model_index.json").read_text()) == model_index(SUITE, "a")


def judged_by(metric, measures):
    result = Result("reward model", metric.name, measures, "", "", headline_of(metric, measures))
    other = Result("random", metric.name, measures, "", "", headline_of(metric, measures))
    return Suite("runs/a", "", (Judged("x", "", True, 1, (result, other)),))


def headline_of(metric, measures):
    return tuple((one.part, one.name) for one in measures if metric.headline(one))


def test_metadata_holds_the_judges_own_number_for_every_kind_of_benchmark():
    groups = [group(str(k), ["Ulm"], ["Bonn", "Gera", "Hof"], "first/clean", NOISY) for k in range(4)]
    scores = [[3.0, 2.0, 1.0, 0.0]] * 4
    samples = best_of_n.benchmark("b", [best_of_n.Samples(one, (1, 1, 1, 1)) for one in groups], "", (1, 4))
    perturbed = perturb.perturbed(groups)
    cases = {
        "accuracy of the answer kept, judge, best of 4": (samples.metric, samples.metric.of_scores(groups, scores)),
        "preferred answer is right, whole call": (rotbench.METRIC, rotbench.METRIC.of_scores(groups, scores)),
        "accuracy under noise, overall: plain": (
            perturbed.metric,
            perturbed.metric.of_scores(perturbed.groups, [[3.0, 2.0, 1.0, 0.0]] * len(perturbed.groups)),
        ),
    }
    for name, (metric, measures) in cases.items():
        (result,) = model_index(judged_by(metric, measures), "a")[0]["results"]
        values = {one["name"].partition(" (")[0]: one["value"] for one in result["metrics"]}
        assert [value for key, value in values.items() if name in key] == [100.0], name
        assert not any("random" in key or "majority" in key for key in values)


def test_there_is_no_metadata_where_no_model_was_judged_and_none_for_what_was_not_measured(tmp_path):
    assert model_index(Suite(NO_MODEL, "", (JUDGED,)), "a") == []
    empty = Result("reward model", "AUC", (Measure("TM-3", 0.0, 0.0, 1.0, 0, "", "AUC"),), headline=(("", "TM-3"),))
    assert model_index(Suite("runs/a", "", (Judged("x", "", True, 1, (empty,)),)), "a") == []
    written(tmp_path)
    written(tmp_path, (Suite(NO_MODEL, "", (JUDGED,)),))
    assert not (tmp_path / "model_index.json").exists()


def test_plots_are_pictures_of_their_own_with_text_and_bands():
    points = ((1.0, 0.5, 0.4, 0.6), (2.0, 0.6, 0.5, 0.7))
    log = Drawing("best of n", "n", "accuracy", (("judge", points), ("random", points)), log=True)
    for key, drawing in (("a", DRAWING), ("b", log)):
        picture = report_plots.lines(drawing, "run", key)
        root = xml.etree.ElementTree.fromstring(picture)
        assert root.tag.endswith("svg")
        assert "var(--main)" in picture
        ids = [e.get("id") for e in root.iter() if e.get("id")]
        assert all(one.startswith(f"{key}-") for one in ids)
