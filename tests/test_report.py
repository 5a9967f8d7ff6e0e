"""The report: its numbers, the page in a real browser, and messages about folders with wrong content."""

import io
import math
import re
import shutil
from collections.abc import Iterable
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from statistics import mean, stdev

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib")
from records import add, record

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.benchmark.intervals import interval, student_t
from prune_init.errors import InputError
from prune_init.launching import plan, plan_file
from prune_init.record import results
from prune_init.record import status as run_status
from prune_init.record.run_record import RunRecord
from prune_init.report import conservation
from prune_init.report.__main__ import main
from prune_init.report.accuracy import BAND, accuracy, stretches
from prune_init.report.conservation import builder
from prune_init.report.cost import cost
from prune_init.report.curves import curves as curves_of
from prune_init.report.density import density
from prune_init.report.drawing import ratio, short, sparsity
from prune_init.report.figures import FIGURES
from prune_init.report.grouping import panels
from prune_init.report.page import leader
from prune_init.report.runs import load
from prune_init.report.series import Panel

SCORERS = ("synflow", "snip", "magnitude")
EXPONENTS = (0.5, 1.0, 2.0)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def make_runs(folder: Path) -> Path:
    """Runs of three scorers, three compressions and three seeds; one scorer collapses."""
    for i, scorer in enumerate(SCORERS):
        for exponent in EXPONENTS:
            for seed in (0, 1, 2):
                top1 = 0.9 - 0.1 * i * exponent - 0.01 * seed
                gone = {"connected": False, "effective_sparsity": 1.0} if (i, exponent) == (2, 2.0) else {}
                add(folder / f"{scorer}-x{exponent}-s{seed}", record(scorer, exponent, seed, top1, **gone))
    return folder


def panel_of(records: Iterable[RunRecord]) -> Panel:
    (panel,) = panels(FinishedRun(Path("nowhere"), one) for one in records)
    return panel


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return make_runs(tmp_path / "runs")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A report of runs of two networks among wrong files of all kinds, and the terminal's output."""
    folder = make_runs(tmp_path_factory.mktemp("report") / "runs")
    for scorer in ("synflow", "grasp"):
        add(folder / f"mlp-{scorer}", record(scorer, 1.0, 0, 0.6, architecture="mlp"))
    add(folder / "nan", record("snip", 1.0, 7, math.nan))
    shutil.copytree(folder / "nan", folder / "nan-again")
    (folder / "torn").mkdir()
    (folder / "torn" / "result.json").write_text('{"schema": 1, "sta')
    (folder / "snip-x1.0-s0" / "metrics.csv").write_text("epoch,test/top1\n1,half a li")
    (folder / "snip-x2.0-s0" / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    names = ("synflow-x1.0-s0", "never begun", "nor this")
    plan_file.write(folder, [plan.Planned(folder / name, name, (f"results={name}",)) for name in names], "small")
    run_status.fail(folder / names[0], results.read(folder / names[0]).identity, ["scorer=synflow", "seed=0"], "told")
    said = io.StringIO()
    with redirect_stdout(said):
        main([str(folder), "--baseline", "synflow"])
    return folder, said.getvalue()


def test_intervals_are_those_of_student():
    """Compared with quantiles from tables; the interval of 1, 2, 3 is 2 +- 4.3027 / sqrt(3)."""
    for freedom, printed in {1: 12.706, 2: 4.303, 10: 2.228, 11: 2.201, 15: 2.131, 30: 2.042, 120: 1.980}.items():
        assert abs(student_t(freedom) - printed) < 6e-4, freedom
    mean, half, n = interval([1.0, 2.0, 3.0])
    assert (mean, n) == (2.0, 3) and abs(half - 4.3027 / math.sqrt(3)) < 1e-4
    assert interval([1.0]).half is interval([1.0, 2.0]).half is None


def test_compressions_are_written_as_people_write_them():
    assert [ratio(x) for x in (0, 0.5, 1, 2, 4.5)] == ["1x", "3.2x", "10x", "100x", "31,623x"]
    assert [short(x) for x in (0, 0.5, 2, 3, 4.5, 6)] == ["1", "3.2", "100", "1k", "32k", "1M"]
    assert [sparsity(x) for x in (0, 1, 1.5, 2, 3, 6)] == ["0%", "90%", "97%", "99%", "99.9%", "99.9999%"]


def test_runs_are_averaged_over_seeds_and_nothing_else(runs):
    add(runs / "snip-train", record("snip", 1.0, 0, 0.3, config={"mode": "train"}))
    (panel,) = panels(load(runs).runs)
    assert [series.key for series in panel.series] == ["synflow", "snip", "snip: train", "magnitude"]
    snip, trained = panel.series[1:3]
    assert snip.look.color == trained.look.color and snip.style["linestyle"] != trained.style["linestyle"]
    found = snip.points[1].accuracy("last")
    assert found is not None and found.half is not None
    assert (found.mean, found.half) == pytest.approx((79, 4.3027 / math.sqrt(3)), abs=1e-3)
    assert [point.accuracy("last").n for point in trained.points] == [1]  # type: ignore[union-attr]


def test_figures_draw_the_numbers_of_the_runs_and_the_published_ones_beside_them():
    network = {"dataset": "cifar100", "architecture": "vgg16"}
    drawing = accuracy(panel_of(record("synflow", 1.0, s, x, **network) for s, x in enumerate((0.70, 0.72))), "best")
    drawn = [line for line in drawing.figure.axes[0].lines if line.get_linestyle() != "None"]  # without the seeds' dots
    lines = [list(map(float, line.get_ydata())) for line in drawn]
    assert len(lines) == 2 and abs(lines[0][0] - 72) < 1e-9
    assert len(lines[1]) > 20 and abs(lines[1][4] - 73) < 1  # published, 10x: between 72 and 74 %
    assert all("published" in text.get_text() for text in drawing.figure.legends[0].texts[1:])


def test_figure_6_has_a_row_for_each_data_set():
    runs = [
        FinishedRun(Path("nowhere"), record("snip", 1.0, seed, 0.5, dataset=data, architecture=net))
        for n, (data, net) in enumerate([("b", "x"), ("a", "y"), ("b", "y"), ("a", "x")])
        for seed in range(n + 1)  # elsewhere, those with most runs come first
    ]
    axes = FIGURES["6"](panels(runs)).figure.axes
    places = {one.get_title(loc="left"): (one.get_subplotspec().rowspan.start, bool(one.get_ylabel())) for one in axes}
    assert places == {"x on a": (0, True), "y on a": (0, False), "x on b": (1, True), "y on b": (1, False)}


def test_one_compression_has_its_own_tick_and_the_plain_variant_comes_first():
    panel = panel_of(
        record("snip", 1.7, seed, 0.5, config={"mode": mode}) for seed in (0, 1) for mode in ("train", None)
    )
    assert [series.key for series in panel.series] == ["snip", "snip: train"]
    (axes,) = accuracy(panel).figure.axes
    assert list(axes.get_xticks()) == [1.7] and not axes.collections
    places = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert len(set(places)) == 2 and abs(sum(places) / 2 - 1.7) < 1e-9


def test_points_beside_a_published_curve_lie_at_their_compression():
    network = {"dataset": "cifar10", "architecture": "vgg11"}
    panel = panel_of(record(scorer, 3.0, 0, 0.5, **network) for scorer in ("snip", "synflow"))
    drawing = accuracy(panel, "best")
    points = [line.get_xdata() for line in drawing.figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert [float(x) for (x,) in points] == [3.0, 3.0]
    assert "Fewer than 3 seeds: no interval is drawn. Dashed: mean of three published runs." in drawing.caption
    assert "Dashed" not in accuracy(panel, "last").caption  # no curve was published for that network


def test_points_and_curves_are_means_over_the_same_runs_and_say_of_how_many(tmp_path):
    """Two of three seeds have collapsed, and one of another scorer has stopped after its first epoch."""
    gone = {"connected": False, "effective_sparsity": 1.0}
    for seed, more in enumerate((gone, gone, {"effective_sparsity": 0.99})):
        add(tmp_path / f"snip{seed}", record("snip", 1.0, seed, 0.1 + 0.35 * seed, **more))
        add(tmp_path / f"synflow{seed}", record("synflow", 1.0, seed, (0.5, 0.6, math.nan)[seed]))
    for name in ("synflow0", "synflow1"):
        (tmp_path / name / "metrics.csv").write_text("epoch,test/top1\n1,0.1\n2,0.2\n")
    (tmp_path / "synflow2" / "metrics.csv").write_text("epoch,test/top1\n1,0.7\n")
    (tmp_path / "snip0" / "metrics.csv").unlink()
    (panel,) = panels(load(tmp_path).runs)

    def drawn(axes):
        lines = {line.get_gid().removeprefix("points="): line for line in axes.lines if "points" in str(line.get_gid())}
        return {key: [*map(float, line.get_xdata()), *map(float, line.get_ydata())] for key, line in lines.items()}

    effective, nominal = (accuracy(panel, effective=which) for which in (True, False))
    assert drawn(effective.figure.axes[0])["snip"][0] == pytest.approx(2 + 0.05)  # shifted beside the other series
    assert drawn(effective.figure.axes[0])["snip"][1] == pytest.approx(80)
    assert drawn(nominal.figure.axes[0])["snip"][1] == pytest.approx(45)
    assert effective.tips["snip"][0].splitlines()[1] == "80.0 %, 1 of 3 seeds"
    assert "100x counted over weights on a path in 1 of 3 runs" in nominal.tips["snip"][0]
    assert nominal.tips["synflow"][0].splitlines()[1] == "55.0 %, 2 of 3 seeds"
    assert "2 points without those of their seeds that lack this accuracy and an effective" in effective.caption
    assert "1 point without those of their seeds that lack this accuracy." in nominal.caption
    training = curves_of(panel, [])
    assert training is not None
    assert [list(map(float, line.get_ydata())) for line in training.figure.axes[0].lines] == [[30], [50, 70]]
    assert "it ends where the first one stopped" in training.caption and "SNIP at 10x: 2 of 3 seeds" in training.caption


def test_collapse_is_framed_once_where_it_lasts():
    connected = {0.5: False, 1.0: True, 2.0: False, 3.0: False}
    panel = panel_of(record("snip", exponent, connected=found) for exponent, found in connected.items())
    frames = [frame.get_bbox().intervalx.round() for frame in density(panel).figure.axes[0].patches]
    assert [tuple(frame) for frame in frames] == [(0, 0), (2, 3)]


@pytest.mark.slow
def test_the_page_says_what_it_could_not_show_and_shows_the_rest(spoilt):
    folder, said = spoilt
    page = (folder / "report" / "report.html").read_text()
    for word in ("torn", "nan-again", "nan: accuracy last is nan", "snip-x1.0-s0/metrics.csv"):
        assert word in said and word in page
    assert page.count("<tr data-series=") == 28 + 2 + len(SCORERS) + 2 and page.count("<figure") == 2 * (8 + 7)
    assert "30 of 32" in page and (folder / "report/results.csv").read_text().count("\n") == 31
    assert "Traceback" not in said
    cells = re.findall(r"<t[dh][^>]*>([^<]*)<", page[page.index("snip - synflow") - 20 :])
    assert cells[1].strip().startswith("-5.00 ± 0.00") and cells[2].strip().startswith("-10.00 ± 0.00")


def test_a_baseline_that_is_not_there_is_told_before_anything_is_drawn(runs):
    with pytest.raises(SystemExit, match=r"baseline=sinp: did you mean snip\? allowed: magnitude, snip, synflow"):
        main([str(runs), "--baseline", "sinp"])
    assert not (runs / "report").exists()


@pytest.mark.slow
def test_one_untrained_run_with_a_hostile_name(tmp_path, capsys):
    """No accuracies, no interval, and text from files is not interpreted as part of the page."""
    evil = '<img src=x onerror="alert(1)">'
    add(tmp_path / "only", record(evil, top1=None)).joinpath("metrics.csv").unlink()
    main([str(tmp_path)])
    page = (tmp_path / "report" / "report.html").read_text()
    assert "fewer than 3 seeds: no intervals are drawn" in capsys.readouterr().out and "fewer than 3 seeds" in page
    assert "None of these runs was trained" in page and "density-fashion_small-conv.png" in page
    assert "<img" not in page


def test_a_row_of_the_map_is_a_layer_also_where_variants_prune_other_ones():
    """One variant spares the first layer, the other the last one: equally many rows, but of other layers."""
    first, second, third = record(layers=3).layers
    pruned = {"first": [second, third], "last": [first, second]}
    drawing = density(
        panel_of(
            record(seed=seed, config={"exclude": key}).model_copy(update={"layers": layers})
            for key, layers in pruned.items()
            for seed in (0, 1)
        )
    )
    told = {key: [text.splitlines()[1] for (text,) in rows] for key, rows in drawing.tips.items()}
    none, some = "10x compression: not run, or no such layer to prune", "10x compression: 10 % left"
    assert told == {"snip: first": [none, some, some], "snip: last": [some, some, none]}


@pytest.mark.slow
def test_every_network_has_figures_of_its_own_whatever_its_names(tmp_path):
    names = (("a-b", "c"), ("a", "b-c"), ("my data/2", "c"))
    for dataset, network in names:
        more = {"dataset": dataset, "architecture": network, "connected": None}
        add(tmp_path / "run #1" / dataset / network, record("snip", top1=None, **more))
    main([str(tmp_path)])
    keys = ("a-b-c", "a-b=2d=c", "my=20=data=2f=2-c")
    assert {path.name for path in (tmp_path / "report").glob("density*.svg")} == {f"density-{key}.svg" for key in keys}
    page = (tmp_path / "report" / "report.html").read_text()
    assert all(page.count(f'data-panel="{key}"') == 7 for key in keys)
    assert 'href="../run%20%231/my%20data/2/c/"' in page
    assert page.count("<td>\N{EN DASH}</td>\n      <td><a") == 3  # whether a path is left is not known


CELLS = [
    (scorer, exponent, seed) for scorer in ("synflow", "snip") for exponent in (1.0, 2.0, 3.0) for seed in range(3)
]
STATES = st.sampled_from(["fine", "fine", "fine", "collapsed", "untrained", "nan"])


def made(cell: tuple[str, float, int], state: str) -> RunRecord:
    _, exponent, seed = cell
    top1 = {"untrained": None, "nan": math.nan}.get(state, 0.9 - 0.2 * exponent + 0.02 * seed)
    gone = {"connected": False, "effective_sparsity": 1.0} if state == "collapsed" else {}
    return record(*cell, top1, **gone)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(CELLS), STATES, min_size=1))
@example(dict.fromkeys([("snip", 1.0, 0), ("snip", 1.0, 1), ("snip", 2.0, 0)], "fine"))
@example(dict.fromkeys([cell for cell in CELLS if cell[1:] != (2.0, 2)], "fine"))
def test_half_finished_sweeps_are_drawn_as_far_as_they_are(sweep):
    panel = panel_of(made(cell, state) for cell, state in sweep.items())
    (axes,) = accuracy(panel).figure.axes
    curves = {line.get_gid().removeprefix("points="): line for line in axes.lines if "points=" in str(line.get_gid())}
    for series in panel.series:
        at = {point.exponent: values for point in series.points if (values := point.accuracies("last"))}
        drawn = [float(y) for y in curves[series.key].get_ydata()] if at else []
        assert drawn == pytest.approx([mean(at[x]) for x in sorted(at)])
        found = [(p.exponent, value) for p in series.points if (value := p.accuracy("last"))]
        ends = {x: (low, high) for stretch in stretches(found) for x, low, high in stretch}
        assert set(ends) == {x for x, values in at.items() if len(values) == 3}
        for x, (low, high) in ends.items():
            width = pytest.approx(2 * 4.3027 * stdev(at[x]) / math.sqrt(3), 1e-4)
            assert low < mean(at[x]) < high and high - low == width
    assert all(0 < band.get_alpha() <= BAND for band in axes.collections if band.get_alpha())
    assert all(math.isfinite(end) for end in axes.get_ylim())
    problems: list[str] = []
    assert density(panel) and cost(panel) and (curves_of(panel, problems) is None) == (not panel.trained())
    leader(panel)
    assert problems == [] or "metrics.csv" in problems[0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "folder=nowhere: is not a folder"),
        (["."], "folder=.: holds no result.json of a finished run"),
        ([".", "figure=9"], "figure=9: allowed: 1, 2, 3, 4, 5, 6, 7, a, b"),
        ([".", "figure=1"], "folder=.: holds no result.json of a finished run"),
        ([".", "figure=7", "--baseline=snip"], "--baseline=snip: is for the tables of the page, not for figure=7"),
        ([".", "svg"], "argument=svg: allowed: DIR, figure=NAME"),
    ],
)
def test_what_cannot_be_done_ends_in_one_line(arguments, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert str(stop.value).startswith(line) and "\n" not in str(stop.value)
    assert not list(tmp_path.iterdir())


def test_figures_by_name(runs, capsys):
    main([str(runs), "figure=1", "figure=2", "figure=b"])
    out = capsys.readouterr().out
    assert "Figure 1" in out and "Figure 2" in out and "Rebuttal, figure B" in out
    assert {path.name for path in (runs / "report").iterdir()} == {
        f"figure-{name}.{kind}" for name in "12b" for kind in ("svg", "png")
    }
    for path in runs.glob("synflow-*"):
        shutil.rmtree(path)
    with pytest.raises(SystemExit, match=r"figure=a: needs trained runs of grasp, .*: .* experiment=rebuttal_a"):
        main([str(runs), "figure=a"])


def test_the_figure_of_conservation_shows_the_net_of_the_runs():
    size = {"num_classes": 10, "input_shape": [3, 32, 32]}
    recorded = {"name": "resnet20", "_target_": "prune_init.architectures.resnet.thin_resnet", "depth": 20, **size}
    assert next(builder(recorded | {"width": 4})().parameters()).shape == (4, 3, 3, 3)
    with pytest.raises(InputError, match="architecture=resnet18: a report builds only: mlp, conv, vgg11"):
        builder({"name": "resnet18", "_target_": "prune_init.architectures.library.timm_model", **size})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["3", "4", "5"])
def test_figures_of_the_theory_need_no_runs(name, tmp_path, capsys, monkeypatch):
    train = conservation.train  # figure 5 trains for 1,000 steps; here it takes five up to each step that is shown
    monkeypatch.setattr(conservation, "train", lambda net, optimizer, steps: train(net, optimizer, islice(steps, 5)))
    main([str(tmp_path / "none"), f"figure={name}"])
    assert (tmp_path / "none" / "report" / f"figure-{name}.png").stat().st_size > 10_000
    if name == "3":  # SynFlow's scores are conserved to rounding, SNIP's are not
        worst = dict(re.findall(r"(\w+) ([\de.-]*\d)", capsys.readouterr().out.partition("largest sum: ")[2]))
        assert float(worst["SynFlow"]) < 1e-12 and float(worst["SNIP"]) > 0.1


@pytest.mark.slow
def test_figure_7_one_shot_can_cut_the_net_and_a_hundred_small_steps_cannot():
    """Theorem 3, with the largest sum of scores pruned in an iteration relative to the flow, for ours and theirs."""
    for axes in FIGURES["7"]([]).figure.axes:
        ours, theirs = ([line.get_ydata() for line in axes.lines[first:6:2]] for first in (0, 1))
        for curves in (ours, theirs):
            once, ten, hundred = (list(curve) for curve in curves)
            assert all(a >= b >= c for a, b, c in zip(once, ten, hundred, strict=True)) and once[1] > 1
            if axes.get_title(loc="left") == "exponential schedule":
                assert 0 < max(hundred) < 1


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_the_page_in_a_browser(spoilt):
    """Curves are drawn, switches, filters and sorting work, and the page makes no network requests."""
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    runs, _ = spoilt
    report = runs / "report" / "report.html"
    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        page.wait_for_function("document.body.dataset.ready === 'yes'")

        shown = page.locator("#accuracy figure:visible")
        assert shown.count() == 1
        curve = shown.locator("g.points[data-series=snip]")
        assert curve.count() == 1 and curve.locator("use").count() == len(EXPONENTS)
        drop = [float(mark.get_attribute("y") or "nan") for mark in curve.locator("use").all()]
        assert drop == sorted(drop) and drop[0] < drop[-1]  # accuracy falls, and y grows downwards
        assert page.locator("#table .copy").evaluate_all("all => all.map(one => one.dataset.command)") == [
            "python -m prune_init scorer=synflow seed=0"
        ]
        shades = page.locator("#density figure:visible image.series").first
        shades.hover(position={"x": 5, "y": 5})
        assert page.locator("#tip").inner_text() == "SynFlow, 0\n3.2x compression: 10 % left"
        assert page.locator(".chip.absent").all_inner_texts() == ["GraSP"]
        curve.locator("use").first.hover(force=True)
        assert "SNIP" in page.locator("#tip").inner_text() and "3 seeds" in page.locator("#tip").inner_text()

        page.locator("fieldset[data-switch=x] label", has_text="effective").click()
        page.locator("fieldset[data-switch=y] label", has_text="best").click()
        assert shown.count() == 1 and shown.get_attribute("id") == "accuracy-fashion_small-conv-effective-best"

        rows = page.locator("#table tbody tr:visible")
        page.select_option("#panel", label="mlp on fashion_small")
        assert shown.count() == 1 and shown.get_attribute("id") == "accuracy-fashion_small-mlp-effective-best"
        assert page.locator("#density figure:visible, #training figure:visible").count() == 2
        assert page.locator("#cost .costs:visible tbody tr").count() == rows.count() == 2
        assert page.locator("#count").inner_text() == "2 of 30 runs"
        page.select_option("#panel", label="conv on fashion_small")
        assert rows.count() == 28
        page.fill("#filter", "snip 100x")
        assert rows.count() == 3 and page.locator("#count").inner_text() == "3 of 30 runs"
        page.fill("#filter", "")
        page.locator(".chip[data-series=magnitude]").click()
        assert rows.count() == 19 and not shown.locator("g.series[data-series=magnitude]").first.is_visible()
        page.locator(".chip[data-series=magnitude]").click()

        page.fill("#filter", "synflow")
        head = page.locator("#table th", has_text="Last, %")
        column = "rows => rows.map(row => Number(row.cells[7].textContent))"
        head.click()
        rising = rows.evaluate_all(column)
        assert len(rising) == 9 and rising == sorted(rising) and head.get_attribute("aria-sort") == "ascending"
        head.locator("button").press("Enter")
        assert rows.evaluate_all(column) == sorted(rising, reverse=True)

        links = page.locator("#table tbody a").evaluate_all("links => links.map(link => link.href)")
        folders = {Path(link.removeprefix("file://")) for link in links}
        assert len(folders) == 30 and all((folder / "result.json").is_file() for folder in folders)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        for width in (1280, 420):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(wide) <= 0  # nothing is wider than the page
            form = "narrow" if width < 640 else "wide"
            assert shown.count() == 1 and shown.get_attribute("class") == form
        browser.close()
    assert said == [] and asked == [report.as_uri()]
