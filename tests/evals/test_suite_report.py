"""The suite's page: self-contained, every number with its interval and n, published rows beside ours."""

import html.parser
import json
import xml.etree.ElementTree

from toolrm_jax.evals import report_plots
from toolrm_jax.evals.benchmark import Drawing, Measure, Published
from toolrm_jax.evals.published import SINGLE
from toolrm_jax.evals.report import Mistake
from toolrm_jax.evals.results import Judged, Result, Suite, load, markdown, model_index, save
from toolrm_jax.evals.suite_report import write_suite_report
from toolrm_jax.toolcalls.types import ErrorType

MEASURES = (Measure("W-Avg", 0.771, 0.755, 0.786, 2983), Measure("S", 0.5, 0.4, 0.6, 137, "by split"))
DRAWING = Drawing("calibration", "σ", "won", (("pairs", ((0.6, 0.7, 0.6, 0.8), (0.9, 0.8, 0.7, 0.9))),), diagonal=True)
JUDGED = Judged(
    "TRBench-BFCL",
    "As published.",
    True,
    1397,
    (Result("reward model", SINGLE, MEASURES), Result("random", SINGLE, MEASURES, "", "3 of 9 held no choice")),
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


def test_results_come_back_from_disk_and_the_same_numbers_are_markdown_and_metadata(tmp_path):
    save(SUITE, tmp_path)
    assert load(tmp_path) == SUITE
    lines = markdown([SUITE])
    assert "| reward model | 77.1 (75.5 to 78.6) | 50.0 (40.0 to 60.0) |" in lines
    (index,) = model_index(SUITE, "a")
    (result,) = index["results"]
    assert result["metrics"] == [
        {
            "type": "accuracy",
            "name": f"{SINGLE}, W-Avg (95 % interval 75.50 to 78.60, n = 2983)",
            "value": 77.1,
        }
    ]
    written(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text()) == model_index(SUITE, "a")


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
