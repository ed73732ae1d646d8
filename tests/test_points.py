"""Points: views against numbers by hand, the page without and in a browser."""

import browsers
import dashboard_runs
import holoviews as hv
import numpy as np
import pytest
from browsers import until

from workbench import dashboard, runs, views
from workbench.dashboard.pages import points as page_of_points
from workbench.errors import InvalidParameter
from workbench.views import points

ARMS = ("ascoct", "organisers", "meanpoint")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for arm in ARMS:
        dashboard_runs.write_points(root, arm)
    return root


@pytest.fixture
def found(root):
    return {run.arm: run for run in runs.find(root)}


def at(run, number):
    return views.key(run.samples.cases[number])


# ---------------------------------------------------------------- views


def test_points_are_read_in_pixels_of_the_image(found):
    run = found["ascoct"]
    case = points.read(run, at(run, 0))
    spur, scale = np.array(run.samples.array("spur")[0]), float(run.samples.array("scale")[0])
    assert case["truth"] == pytest.approx((spur + 0.5) / scale)
    peak = np.unravel_index(case["heat"].argmax(), case["heat"].shape)
    assert np.abs(case["truth"] - 0.5 - peak[::-1]).max() <= 0.51, "the heat map is highest at the true point"
    with pytest.raises(InvalidParameter, match="did you mean s00"):
        points.read(run, ("s001", ""))


def test_an_unknown_point_is_none_and_has_no_error(found):
    run = found["ascoct"]
    assert points.read(run, at(run, 5))["truth"] is None
    errors = points.vectors(run)
    assert np.isnan(errors[5]).all() and np.isfinite(np.delete(errors, [5, 11], 0)).all()
    expected = np.array(run.samples.array("point")[3]) - np.array(run.samples.array("spur")[3])
    assert errors[3] == pytest.approx(expected)
    assert points.read(found["meanpoint"], at(run, 0))["heat"] is None


def test_lengths_of_the_errors_are_those_of_the_table(found):
    for run in found.values():
        lengths = np.hypot(*points.vectors(run).T)
        assert lengths == pytest.approx(views.scores(run)["ed"].to_numpy(), rel=1e-4, nan_ok=True)


def test_a_cross_leaves_its_point_in_sight():
    paths = points.cross(np.array([10.0, 20.0]), 64)
    ends = np.abs(np.concatenate(paths) - (10, 20)).sum(1)
    assert len(paths) == 4 and ends.min() == 1.0 and ends.max() == 4.0
    assert points.cross(None, 64) == []


def test_the_plot_of_errors_holds_nearly_all_and_the_outer_ring():
    close, far = np.ones((40, 2)), np.full((40, 2), 100.0)
    assert points.limit([close]) == 22.0
    assert points.limit([far, np.full((3, 2), np.nan)]) == pytest.approx(110.0)


def test_static_pictures_are_drawn(found):
    run = found["ascoct"]
    layout = points.comparison([run, found["meanpoint"]], at(run, 0))
    labels = [element.label for element in layout if not isinstance(element, hv.Empty)]
    assert [label.split(" ·")[0] for label in labels] == ["Truth", "ascoct", "meanpoint", "Heat map ascoct"]
    plain = points.comparison([found["meanpoint"]], at(run, 0))
    assert len(plain) == 2, "no row of heat maps where there are none"
    cloud = points.errors(list(found.values()))
    drawn = [element for element in cloud.traverse(lambda x: x, [hv.Points])]
    assert [len(each) for each in drawn] == [10, 10, 10], "the unknown ones are left out"
    for element in (layout, cloud):
        hv.renderer("bokeh").get_plot(element)


# ---------------------------------------------------------------- which runs can be shown


def broken(tmp_path, **changes):
    run = dashboard_runs.write_points(tmp_path, "ascoct")
    for name, array in changes.items():
        np.save(run.path / "samples" / f"{name}.npy", array)
    survey = views.survey([run], points.NEEDS, points.check)
    assert not survey.runs
    return survey.aside[0][1]


def test_points_that_do_not_belong_to_the_pictures_are_set_aside(tmp_path):
    assert "point.npy" in broken(tmp_path, point=np.zeros((3, 2), np.float32))
    assert "scale.npy" in broken(tmp_path, scale=np.zeros(12, np.float32))
    assert "float32" in broken(tmp_path, spur=np.zeros((12, 2), np.uint8))


# ---------------------------------------------------------------- the page


def opened(found):
    return page_of_points.Comparison(list(found.values()))


def test_it_begins_with_the_best_two_arms_and_the_worst_case(found):
    page = opened(found)
    assert (page.a.value.arm, page.b.value.arm) == ("ascoct", "organisers")
    errors = views.scores(found["ascoct"])["ed"]
    assert page.cases.case == errors.idxmax()


def test_a_click_on_an_error_opens_its_case(found):
    page = opened(found)
    page.cloud.sources[1].selected.indices = [4]
    assert page.cases.case == at(found["ascoct"], 4)
    ends = page.cloud.marks.data
    assert (ends["x"][1], ends["y"][1]) == pytest.approx(tuple(points.vectors(found["organisers"])[4]))
    assert page.cloud.sources[1].selected.indices == []


def test_crosses_stand_where_the_points_are(found):
    page = opened(found)
    page.cases.case = at(found["ascoct"], 2)
    case, height = points.read(found["ascoct"], page.cases.case), 48
    for name, point in (("truth", case["truth"]), ("found_a", case["found"])):
        lines = page.canvas.outlines[name].data
        middle = np.mean([np.mean(xs) for xs in lines["xs"]]), np.mean([np.mean(ys) for ys in lines["ys"]])
        assert middle == pytest.approx((point[0], height - point[1]))
    page.cases.case = at(found["ascoct"], 5)
    assert len(page.canvas.outlines["truth"].data["xs"]) == 0 and "unknown" in page.board.texts["note_image"]


def test_another_run_changes_heat_map_and_errors(found):
    page = opened(found)
    page.b.value = found["meanpoint"]
    assert page.board.texts["note_b"] == "no heat map"
    assert page.cloud.sources[1].data["x"] == pytest.approx(points.vectors(found["meanpoint"])[:, 0], nan_ok=True)


def test_in_a_browser_the_keys_change_the_pictures(root, tmp_path):
    with (
        browsers.chromium() as browser,
        browsers.serving(root, tmp_path) as url,
        browsers.opened(browser, url, 1440, 900) as page,
    ):
        until(page, lambda: page.locator("canvas").count() >= 6 and browsers.at(page, "place").inner_text() != "")
        until(page, lambda: len(np.unique(browsers.pixels(browsers.at(page, "at_found_a")))) > 50)
        place, picture = browsers.at(page, "place"), browsers.at(page, "at_found_a")
        told, drawn = place.inner_text(), browsers.pixels(picture).tobytes()
        page.keyboard.press("j")
        until(page, lambda: place.inner_text() != told and browsers.pixels(picture).tobytes() != drawn)


def test_it_is_a_page_of_the_dashboard(found):
    assert "points" in [page.name for page in dashboard.select(None)]
    assert dashboard.points.concerns(found["ascoct"])
