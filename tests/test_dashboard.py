"""Views and dashboard: the right arrays in the right places, broken runs survived, and the pages in a real browser."""

import contextlib
import json
import os
import re
import subprocess
import sys

import browsers
import dashboard_runs
import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import pytest
from bokeh.client import pull_session
from bokeh.models import ImportedStyleSheet, WheelZoomTool
from bokeh.util.token import generate_session_id
from browsers import at, until
from skimage.color import deltaE_ciede2000, rgb2lab

from workbench import compare, dashboard, runs, views
from workbench.dashboard import frame
from workbench.dashboard.pages import colorizations, metrics
from workbench.errors import InvalidParameter, InvalidRun
from workbench.views import colors, curves


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two seeds of two arms, one run without masks, one unfinished and four broken ones."""
    root = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        for arm in ("smcgan", "wgan_gp"):
            dashboard_runs.write(root, arm, seed, cases=8, size=32)
    dashboard_runs.write(root, "gray", cases=8, size=32)
    (dashboard_runs.write(root, "no_gan2", 0, cases=4, size=32).path / "done").unlink()
    spoil(dashboard_runs.write(root, "no_gan2", 1, cases=4, size=32), "truncated")
    spoil(dashboard_runs.write(root, "no_gan2", 2, cases=4, size=32), "missing")
    spoil(dashboard_runs.write(root, "no_gan2", 3, cases=4, size=32), "short")
    spoil(dashboard_runs.write(root, "no_gan2", 4, cases=4, size=32), "random")
    return root


def spoil(run, how):
    samples = run.path / "samples"
    if how == "truncated":
        table = run.path / "scores.parquet"
        table.write_bytes(table.read_bytes()[:-200])
    elif how == "missing":
        (samples / "color.npy").unlink()
    elif how == "short":
        np.save(samples / "target.npy", np.load(samples / "target.npy")[:-1])
    else:
        (samples / "index.json").write_text('{"cases": 3, "arrays": [["image"]]}')


@pytest.fixture
def found(root):
    return runs.find(root)


def usable(found):
    return views.survey(found, colors.NEEDS).runs


def pick(found, arm, seed=0):
    return next(run for run in usable(found) if (run.arm, run.seed) == (arm, seed))


# ---- what is asked of runs


def test_the_wheel_scrolls_a_notebook_past_its_figures():
    """HoloViews would zoom whatever figure comes under the mouse."""
    dashboard.inline()
    for figure in (hv.Curve([1, 2]), hv.Curve([1, 2]) * hv.Scatter([2, 1]), hv.HeatMap([("a", "b", 1)])):
        assert not isinstance(hv.render(figure, backend="bokeh").toolbar.active_scroll, WheelZoomTool)


def test_survey_sets_aside_what_cannot_be_shown_and_says_why(found):
    survey = views.survey(found, colors.NEEDS)
    assert sorted((run.arm, run.seed) for run in survey.runs) == [
        ("gray", 0), ("smcgan", 0), ("smcgan", 1), ("wgan_gp", 0), ("wgan_gp", 1),
    ]  # fmt: skip
    why = {run.seed: text for run, text in survey.aside}
    assert "unfinished" in why[0]
    assert "scores.parquet" in why[1] and "unreadable" in why[1]
    assert "color.npy" in why[2]
    assert "target.npy: expected 4 cases" in why[3]
    assert "index.json" in why[4]


@pytest.mark.parametrize(
    "content", ["[1, 2]", '{"method": 3}', '{"method": "x", "seed": "one"}', '{"method": "x", "arm": []}', "\x00\xff"]
)
def test_survey_survives_any_config(tmp_path, content):
    run = dashboard_runs.write(tmp_path, "gray", cases=2, size=16)
    (run.path / "config.json").write_text(content)
    survey = views.survey(runs.find(tmp_path), colors.NEEDS)
    assert survey.runs == [] and len(survey.aside) == 1
    assert "config.json" in survey.aside[0][1]


def test_survey_passes_over_runs_that_wrote_other_samples(found):
    assert views.survey(found[:1], {"volume": 4}) == views.Survey([], [])


def test_survey_finds_arrays_of_another_kind(tmp_path):
    run = dashboard_runs.write(tmp_path, "gray", cases=2, size=16)
    np.save(run.path / "samples" / "color.npy", np.zeros((2, 16, 16, 3)))
    assert "axes of uint8" in views.survey([run], colors.NEEDS).aside[0][1]
    np.save(run.path / "samples" / "color.npy", np.zeros((2, 8, 8, 3), np.uint8))
    assert "arrays of one size" in views.survey([run], colors.NEEDS).aside[0][1]


def test_a_table_without_metrics_is_a_broken_run(tmp_path):
    run = dashboard_runs.write(tmp_path, "gray", cases=2, size=16)
    pd.DataFrame({"case": ["a"], "group": ["b"]}).to_parquet(run.path / "scores.parquet")
    with pytest.raises(InvalidRun, match="case, group and metrics"):
        views.scores(run)


def test_scores_are_read_again_when_the_file_changes(tmp_path):
    run = dashboard_runs.write(tmp_path, "gray", cases=2, size=16)
    before = views.scores(run)["mae"].iloc[0]
    run.scores().assign(mae=before + 1).to_parquet(run.path / "scores.parquet")
    os.utime(run.path / "scores.parquet", ns=(1, 1))
    assert views.scores(run)["mae"].iloc[0] == pytest.approx(before + 1)


def test_shared_cases_keep_the_order_of_the_first_run(tmp_path, found):
    less = dashboard_runs.write(tmp_path, "smcgan", 7, cases=3, size=32)
    whole = pick(found, "smcgan")
    assert views.shared([whole, less]) == [views.key(entry) for entry in whole.samples.cases[:3]]
    assert views.shared([]) == []


def test_differing_shows_only_what_differs_between_runs_that_have_it(found):
    table = views.differing(usable(found))
    assert list(table) == ["arm", "seed", "id"]
    other = dashboard_runs.runs.Run(found[0].path)
    other.__dict__["config"] = {**found[0].config, "config": {"lr": 0.5, "net": {"base": 4}}, "budget": {"epochs": 7}}
    table = views.differing([*usable(found), other])
    assert list(table) == ["arm", "seed", "id", "lr", "epochs"]
    assert table["lr"].iloc[-1] == 0.5 and set(table["epochs"]) == {40, 7}


def changed(run, seed=0, **settings):
    other = dashboard_runs.runs.Run(run.path.with_name(f"{abs(hash((seed, *settings.items()))):x}"))
    other.__dict__["config"] = {**run.config, "seed": seed, "config": settings}
    return other


def test_an_arm_with_several_settings_is_several_arms(found):
    run = found[0]
    plain = [changed(run, seed, lr=0.1) for seed in (0, 1)]
    assert views.arms(plain) == [run.arm] * 2
    rates = [changed(run, seed, lr=lr) for seed in (0, 1) for lr in (0.1, 0.00123456)]
    assert views.arms(rates) == ["lr 0.1", "lr 0.001235"] * 2
    for one in rates:
        one.config["data"] = one.config["data"] | {"fold": one.seed}
    assert views.arms(rates) == ["lr 0.1", "lr 0.001235"] * 2, "each seed has its own fold of a cross-validation"
    other = next(one for one in found if one.arm != run.arm)
    assert views.arms([*rates[:2], other]) == [f"{run.arm} · lr 0.1", f"{run.arm} · lr 0.001235", other.arm]
    many = [changed(run, seed, lr=lr, base=lr, depth=lr) for seed in (0, 1) for lr in (1, 2)]
    close = [changed(run, seed, lr=lr) for seed in (0, 1) for lr in (0.123456, 0.123457)]
    for unlike in (many, close):
        assert views.arms(unlike) == [one.id[:6] for one in unlike[:2]] * 2


def test_means_do_not_mix_the_settings_of_an_arm(tmp_path):
    found = [dashboard_runs.write(tmp_path, "smcgan", seed, cases=4, size=32) for seed in (0, 1)]
    text = (found[1].path / "config.json").read_text()
    (found[1].path / "config.json").write_text(text.replace('"seed": 1', '"seed": 0').replace('"lr": ', '"lr": 1'))
    page = metrics.Numbers(runs.find(tmp_path))
    assert page.scores["arm"].nunique() == 2 and "lr 0.0002" in page.means.object


def test_labels_tell_runs_apart(found):
    run = pick(found, "smcgan", 1)
    assert views.label(run) == f"smcgan · seed 1 · {run.id[:6]}"
    assert len({views.label(run) for run in found}) == len(found)


# ---- colours


def test_difference_is_ciede2000():
    red, green = np.zeros((2, 1, 1, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    assert colors.difference(red, green)[0, 0] == pytest.approx(86.608, abs=0.01)
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 9, 7, 3), dtype=np.uint8)
    expected = deltaE_ciede2000(rgb2lab(first), rgb2lab(second))
    np.testing.assert_allclose(colors.difference(first, second), expected, rtol=1e-6)
    assert not colors.difference(first, first).any()


def test_rgba_keeps_every_channel():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    packed = colors.rgba(image).view(np.uint8).reshape(2, 4, 4)
    np.testing.assert_array_equal(packed[..., :3], image)
    assert (packed[..., 3] == 255).all()
    grey = colors.rgba(image[..., 0]).view(np.uint8).reshape(2, 4, 4)
    assert (grey[..., :3] == image[..., :1]).all()


def test_outline_runs_along_the_border_of_the_mask():
    mask = np.zeros((6, 8), np.uint8)
    mask[1:4, 2:7] = 1
    (path,) = colors.outline(mask)
    assert path.min(axis=0) == pytest.approx([2, 1]) and path.max(axis=0) == pytest.approx([7, 4])
    (whole,) = colors.outline(np.ones((3, 3), np.uint8))
    assert (whole[0] == whole[-1]).all()
    assert colors.outline(np.zeros((3, 3), np.uint8)) == []


def test_comparison_holds_the_arrays_of_the_case(found, tmp_path):
    pair, case = [pick(found, "smcgan"), pick(found, "wgan_gp")], ("s0002b", "black")
    layout = colors.comparison(pair, case)
    number = [entry["case"] for entry in pair[0].samples.cases].index("s0002b")
    shown = [np.dstack([e.dimension_values(d, flat=False)[::-1] for d in e.vdims]) for e in layout.values()[:4]]
    assert (shown[0][..., 0] == pair[0].samples.array("image")[number]).all()
    assert (shown[1] == pair[0].samples.array("target")[number]).all()
    for run, picture in zip(pair, shown[2:], strict=True):
        assert (picture == run.samples.array("color")[number]).all()
    hv.save(colors.comparison(pair, case, masks=True), tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_an_unknown_case_is_refused(found):
    with pytest.raises(InvalidParameter, match="s0000b"):
        colors.read(pick(found, "gray"), ("s000b", ""))


# ---- curves


def test_learning_draws_one_line_an_arm_and_breaks_it_between_seeds(found):
    table = curves.logs(usable(found))
    overlay = curves.learning(table, "loss/generator")
    assert [curve.label for curve in overlay] == ["smcgan", "wgan_gp"]
    values = overlay.get(0).dimension_values("loss/generator")
    assert len(values) == 81 and list(np.flatnonzero(np.isnan(values))) == [40]
    with pytest.raises(InvalidParameter, match="did you mean"):
        curves.learning(table, "loss/generatr")


def test_curves_survive_any_line_of_the_log(tmp_path):
    run = dashboard_runs.write(tmp_path, "smcgan", cases=2, size=16)
    lines = ['{"step": {"a": 1}, "color": [1, 2]}', '{"step": 481, "color": "high"}', "[3]", '{"step": 482, "col']
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write("\n".join(lines))
    table = curves.logs([run])
    assert table["step"].max() == 481 and table["color"].notna().sum() == 40
    hv.render(curves.learning(table, "color").opts(responsive=False), backend="bokeh")


@pytest.mark.parametrize("lowest", [-1.0, -100.0])
def test_a_logarithmic_axis_leaves_out_what_is_not_positive(lowest):
    table = pd.DataFrame({"step": [1, 2, 3], "loss": [lowest, -lowest - 50, 0.0], "arm": "a", "seed": 0, "run": "x"})
    overlay = curves.learning(table, "loss", log=True)
    assert list(overlay.get(0).dimension_values("loss")) == [v for v in table["loss"] if v > 0]
    hv.render(overlay.opts(responsive=False), backend="bokeh")


@pytest.mark.parametrize("kind", curves.KINDS)
def test_distribution_holds_every_case_of_every_seed(found, kind):
    scores = compare.gather(usable(found))
    element = curves.distribution(scores, "fg_psnr", kind)
    assert len(element) == len(scores)
    hv.render(element.opts(responsive=False), backend="bokeh")
    assert list(element.dimension_values("fg_psnr")) == pytest.approx(list(scores["fg_psnr"]))


def test_differences_are_arm_minus_reference(found):
    scores = compare.gather(usable(found))
    table = curves.differences(scores, "smcgan", "mae")
    row = table.set_index("arm").loc["wgan_gp"]
    means = scores[scores["seed"].isin([0, 1])].groupby("arm")["mae"].mean()
    assert row["mean"] == pytest.approx(means["wgan_gp"] - means["smcgan"]) and row["seeds"] == 2
    assert "smcgan" not in set(table["arm"])


@pytest.mark.parametrize(("metric", "arrow"), [("fg_psnr", "better →"), ("mae", "← better")])
def test_the_forest_points_to_the_better_side(found, metric, arrow):
    scores = compare.gather(usable(found))
    plot = curves.forest(curves.differences(scores, "smcgan", metric), "smcgan", metric, views.palette(scores["arm"]))
    drawn = hv.render(plot.opts(responsive=False), backend="bokeh")
    assert arrow in drawn.below[0].axis_label
    assert drawn.x_range.start < 0 < drawn.x_range.end


def test_summary_is_mean_and_spread_over_seeds(found):
    scores = compare.gather(usable(found))
    means = scores[scores["arm"] == "smcgan"].groupby("seed")["psnr"].mean()
    assert curves.summary(scores).loc["smcgan", "psnr"] == f"{means.mean():.2f} ± {means.std():.2f}"
    assert curves.summary(scores).loc["gray", "iou"] == "–"
    assert "±" not in curves.summary(scores).loc["gray", "psnr"]


# ---- pages without a browser


def assert_shown(page, a, b, case):
    """The sources of the pictures hold the arrays of two runs and a case, each in its own column."""
    data = page.canvas.source.data
    first, second = colors.read(a, case), colors.read(b, case)
    for column, image in (
        ("image", first["image"]),
        ("target", first["target"]),
        ("color_a", first["color"]),
        ("color_b", second["color"]),
    ):
        np.testing.assert_array_equal(data[column][0], colors.rgba(image))
    for column, arrays in (("difference_a", first), ("difference_b", second)):
        np.testing.assert_array_equal(data[column][0], colors.difference(arrays["target"], arrays["color"]))


def test_the_page_begins_with_the_best_runs_of_two_arms(found):
    page = colorizations.Comparison(usable(found))
    assert page.a.value.arm == "smcgan" and page.b.value.arm == "wgan_gp"
    assert_shown(page, page.a.value, page.b.value, page.cases.shared[0])


def test_another_case_or_run_changes_data_and_nothing_else(found):
    page = colorizations.Comparison(usable(found))
    root = page.view().get_root()
    before = set(root.references())
    page.cases.step(1)
    assert_shown(page, page.a.value, page.b.value, page.cases.shared[1])
    page.b.value = pick(found, "gray")
    assert_shown(page, page.a.value, pick(found, "gray"), page.cases.shared[1])
    kinds = {type(model).__name__ for model in set(root.references()) - before}
    assert not kinds & {"Plot", "GlyphRenderer", "ColumnDataSource"}


def test_steps_follow_the_table_as_it_is_sorted_and_stop_at_its_ends(found):
    page = colorizations.Comparison(usable(found))
    page.cases.table.sorters = [{"field": "A", "dir": "asc"}]
    psnr = views.scores(page.a.value)["fg_psnr"].sort_values()
    page.cases.case = psnr.index[0]
    assert "1 of 8" in page.cases.place()
    page.cases.step(1)
    assert page.cases.case == psnr.index[1]
    page.cases.step(-5)
    assert page.cases.case == psnr.index[0]
    page.cases.step(50)
    assert page.cases.case == psnr.index[-1]


def test_worst_first_stays_worst_first_under_another_metric(found):
    page = colorizations.Comparison(usable(found))
    page.cases.table.sorters = [{"field": "B", "dir": "asc"}]
    page.cases.metric.value = "mae"
    assert page.cases.table.sorters == [{"field": "B", "dir": "desc"}]
    scores = views.scores(page.b.value)["mae"]
    assert page.cases.shared[page.cases.order()[0]] == scores.idxmax()
    page.cases.metric.value = "leakage"
    assert page.cases.table.sorters == [{"field": "B", "dir": "desc"}]
    page.cases.metric.value = "ssim"
    assert page.cases.table.sorters == [{"field": "B", "dir": "asc"}]
    rank = views.scores(page.b.value)["ssim"].rank()[page.cases.case]
    assert f"{rank:.0f} of 8" in page.board.texts["place"]


def test_a_click_selects_and_a_second_click_does_not_lose_the_case(found):
    page = colorizations.Comparison(usable(found))
    page.cases.table.selection = [3]
    assert page.cases.case == page.cases.shared[3]
    page.cases.table.selection = []
    assert page.cases.table.selection == [3]


def test_the_table_tells_the_chosen_metric_of_both_runs(found):
    page = colorizations.Comparison(usable(found))
    page.cases.metric.value = "mae"
    table = page.cases.table.value
    assert list(table) == ["case", "background", "A", "B", "A − B"]
    expected = views.scores(page.a.value)["mae"].to_numpy()
    np.testing.assert_allclose(table["A"], expected, rtol=1e-6)
    np.testing.assert_allclose(table["A − B"], expected - views.scores(page.b.value)["mae"].to_numpy(), atol=1e-6)


def test_numbers_of_the_case_are_those_of_the_table_of_scores(found):
    page = colorizations.Comparison(usable(found))
    page.cases.step(2)
    case = views.scores(page.a.value).loc[[page.cases.case]].iloc[0]
    texts = page.board.texts
    assert f"fg PSNR {case['fg_psnr']:.2f}" in texts["note_color_a"]
    assert f">{case['ssim']:.3f}<" in texts["numbers"]
    worst = page.canvas.source.data["difference_a"][0].max()
    assert f"{worst:.1f} ΔE00" in texts["note_difference_a"]


def test_only_shared_cases_are_listed_and_the_page_says_so(tmp_path, found):
    less = dashboard_runs.write(tmp_path, "wgan_gp", 9, cases=3, size=32)
    page = colorizations.Comparison([pick(found, "smcgan"), less])
    assert len(page.cases.shared) == 3
    assert "8 cases" in page.board.texts["message"] and "the 3 they share" in page.board.texts["message"]


def test_runs_without_a_case_in_common_leave_the_page_as_it_was(tmp_path, found):
    other = dashboard_runs.write(tmp_path, "wgan_gp", 9, cases=2, size=32)
    index = json.loads((other.path / "samples/index.json").read_text())
    for number, entry in enumerate(index["cases"]):
        entry["case"] = f"other{number}"
    (other.path / "samples/index.json").write_text(json.dumps(index))
    page = colorizations.Comparison([pick(found, "smcgan"), pick(found, "wgan_gp"), other])
    shown = page.canvas.source.data["color_b"][0]
    page.b.value = other
    assert "none in common" in page.board.texts["message"]
    assert page.canvas.source.data["color_b"][0] is shown


def test_an_array_that_vanishes_while_the_page_is_open_is_told(tmp_path):
    run = dashboard_runs.write(tmp_path, "smcgan", cases=3, size=16)
    page = colorizations.Comparison([run])
    (run.path / "samples" / "color.npy").unlink()
    page.cases.step(1)
    assert "color.npy" in page.board.texts["message"]


def test_a_page_that_cannot_be_drawn_says_why(tmp_path, monkeypatch):
    run = dashboard_runs.write(tmp_path, "smcgan", cases=3, size=16)
    monkeypatch.setattr(views, "check", lambda run, needs: None)
    (run.path / "scores.parquet").write_bytes(b"")
    assert "scores.parquet" in rendered(dashboard.colorizations([run]))


def test_outlines_are_drawn_on_the_runs_that_have_them(found):
    page = colorizations.Comparison([pick(found, "smcgan"), pick(found, "gray")])
    page.outlines.value = ["foreground", "mask"]
    lines = page.canvas.lines
    assert all(line.visible for each in lines.values() for line in each)
    assert page.canvas.outlines["mask_a"].data["xs"] and not page.canvas.outlines["mask_b"].data["xs"]
    page.outlines.value = []
    assert not any(line.visible for each in lines.values() for line in each)


def test_the_scale_of_both_maps_is_one_and_can_be_changed(found):
    page = colorizations.Comparison(usable(found))
    page.limit.value = 12
    assert page.canvas.mapper.high == 12
    assert "≥ 12 ΔE00" in page.board.texts["scale"]


def test_pictures_that_are_not_square_keep_their_aspect(tmp_path):
    run = dashboard_runs.write(tmp_path, "gray", cases=2, size=32)
    for key in run.samples.keys:
        np.save(run.path / "samples" / f"{key}.npy", np.array(run.samples.array(key)[:, :20]))
    page = colorizations.Comparison([run])
    assert (page.canvas.x.start, page.canvas.x.end) == (0, 32)
    assert (page.canvas.y.start, page.canvas.y.end) == (-6, 26)


def test_metrics_follow_the_checked_runs(found):
    page = metrics.Numbers(usable(found))
    assert page.reference.value == "smcgan"
    assert set(page.scores["arm"]) == {"smcgan", "wgan_gp", "gray"}
    page.table.selection = [i for i, run in enumerate(page.runs) if run.arm == "wgan_gp"]
    assert set(page.scores["arm"]) == {"wgan_gp"} and page.reference.value == "wgan_gp"
    assert "second arm" in page.pairs.object and page.forest.object is None


def test_metrics_without_any_curves(found):
    page = metrics.Numbers([pick(found, "gray")])
    assert page.quantity.value is None and page.curves.object is None


def test_the_app_tells_of_broken_runs_without_failing(root):
    text = rendered(dashboard.app(root))
    assert "5 runs not shown" in text and "scores.parquet" in text


def test_names_out_of_files_cannot_carry_markup(tmp_path):
    run = dashboard_runs.write(tmp_path, "gray", cases=2, size=16)
    config = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(config | {"arm": "<script>x</script>"}))
    page = dashboard.metrics(runs.find(tmp_path))
    assert "<script>" not in rendered(page)
    (run.path / "done").unlink()
    assert "<script>" not in frame.note(views.survey(runs.find(tmp_path), {}).aside).object


def test_an_empty_folder_says_what_to_do(tmp_path):
    text = rendered(dashboard.app(tmp_path))
    assert "No runs under" in text and "workbench run smcgan" in text
    (dashboard_runs.write(tmp_path, "gray", cases=2, size=16).path / "done").unlink()
    assert "No finished runs" in rendered(dashboard.colorizations(runs.find(tmp_path)))


def rendered(viewable):
    """The text of every HTML pane."""
    return " ".join(pane.object for pane in viewable.select(pn.pane.HTML))


def test_pages_are_found_in_their_folder():
    pages = ["colorizations", "modalities", "masks", "classification", "embeddings", "labels"]
    pages += ["points", "tree", "video", "metrics"]
    assert [page.name for page in dashboard.select(None)] == pages
    assert dashboard.colorizations.needs == colors.NEEDS
    with pytest.raises(InvalidParameter, match="did you mean metrics"):
        dashboard.app(pages=["metric"])
    with pytest.raises(AttributeError):
        _ = dashboard.nothing


def test_the_dashboard_does_not_load_torch():
    code = "import sys, workbench.dashboard as d; d.select(None); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_wheel_scrolls_past_pictures_in_a_notebook():
    made = hv.render(colors.picture(np.zeros((8, 8), np.uint8)), backend="bokeh")
    assert not isinstance(made.toolbar.active_scroll, WheelZoomTool)


# ---- pages in a browser


@pytest.fixture(scope="module")
def server(root, tmp_path_factory):
    with browsers.serving(root, tmp_path_factory.mktemp("server")) as url:
        yield url


def test_a_visitor_who_comes_back_needs_no_other_server(server):
    """A browser that was away for long opens a session without asking for the page again."""
    with contextlib.closing(pull_session(session_id=generate_session_id(), url=server.rstrip("/"))) as session:
        sheets = {str(model.url) for model in session.document.models if isinstance(model, ImportedStyleSheet)}
    assert sheets and not {sheet for sheet in sheets if sheet.startswith("http")}


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    """The dashboard, opened."""
    with browsers.opened(browser, server) as page:
        at(page, "at_color_b").locator("canvas").first.wait_for()
        page.locator(".tabulator-row").first.wait_for()
        page.wait_for_timeout(500)
        yield page


def place(page):
    return at(page, "place").inner_text()


def drawn(page, name):
    return browsers.pixels(at(page, f"at_{name}")).tobytes()


@pytest.mark.browser
def test_every_page_opens(page):
    page.get_by_text("Metrics", exact=True).click()
    page.get_by_text("Learning curves").wait_for()
    page.get_by_text("Mean over cases ± standard deviation over seeds").wait_for()
    page.locator(".bk-Figure canvas").nth(2).wait_for()
    page.wait_for_timeout(1000)


@pytest.mark.browser
def test_the_swipe_follows_the_pointer(page):
    before, slider = drawn(page, "swipe"), at(page, "at_swipe").locator(".slider")
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 60, steps=4)
    page.mouse.up()
    page.wait_for_timeout(200)
    assert slider.bounding_box()["x"] == pytest.approx(box["x"] + 58, abs=6)
    assert drawn(page, "swipe") != before


@pytest.mark.browser
def test_a_click_on_a_header_puts_the_worst_case_first(page, found):
    page.locator(".tabulator-col-title", has_text=re.compile("^A$")).click()
    worst = views.scores(colorizations.opponents(usable(found))[0])["fg_psnr"].idxmin()
    until(page, lambda: page.locator(".tabulator-row").first.inner_text().split()[0] == worst[0])
    page.locator(".tabulator-row").first.click()
    until(page, lambda: worst[0] in place(page) and "1 of 8" in place(page))
    page.keyboard.press("ArrowRight")
    until(page, lambda: "2 of 8" in place(page))


@pytest.mark.browser
def test_keys_and_buttons_change_the_case(page):
    before = {name: drawn(page, name) for name in ("image", "target", "color_a", "difference_b")}
    assert "1 of 8" in place(page)
    for key, expected in (("ArrowRight", 2), ("j", 3), ("k", 2), ("ArrowLeft", 1), ("j", 2)):
        page.keyboard.press(key)
        until(page, lambda expected=expected: f"{expected} of 8" in place(page))
    page.wait_for_timeout(300)
    assert all(drawn(page, name) != pixels for name, pixels in before.items())
    page.get_by_text("▶").click()
    until(page, lambda: "3 of 8" in place(page))
    at(page, "at_limit").locator("input").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(500)
    assert "3 of 8" in place(page)


@pytest.mark.browser
def test_another_run_is_another_picture(page):
    before = {name: drawn(page, name) for name in ("color_a", "color_b", "difference_b", "swipe")}
    choice = at(page, "at_b").locator("select")
    gray = next(text for text in choice.locator("option").all_inner_texts() if text.startswith("gray"))
    choice.select_option(label=gray)
    until(page, lambda: drawn(page, "color_b") != before["color_b"])
    page.wait_for_timeout(300)
    assert drawn(page, "difference_b") != before["difference_b"] and drawn(page, "swipe") != before["swipe"]
    assert drawn(page, "color_a") == before["color_a"]


@pytest.mark.browser
def test_zoom_is_linked_and_survives_another_case(page):
    names = ("image", "target", "color_a", "color_b", "difference_a", "swipe")
    before = {name: drawn(page, name) for name in names}
    box = at(page, "at_image").bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 80)
    page.mouse.wheel(0, -400)
    until(page, lambda: all(drawn(page, name) != before[name] for name in names))
    page.keyboard.press("j")
    until(page, lambda: "2 of 8" in place(page))
    page.get_by_text("Whole image").click()
    page.keyboard.press("k")
    until(page, lambda: "1 of 8" in place(page))
    page.mouse.move(5, 5)
    until(page, lambda: drawn(page, "target") == before["target"])


@pytest.mark.browser
def test_nothing_moves_when_the_case_changes(page):
    names = ("image", "color_b", "swipe", "difference_b", "back", "whole")
    where = {name: at(page, f"at_{name}").bounding_box() for name in names}
    page.keyboard.press("j")
    until(page, lambda: "2 of 8" in place(page))
    page.wait_for_timeout(300)
    assert {name: at(page, f"at_{name}").bounding_box() for name in names} == where
