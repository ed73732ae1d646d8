"""Synthetic modalities: errors and outlines against numbers by hand, the page without and in a browser."""

import shutil

import browsers
import conftest
import dashboard_runs
import holoviews as hv
import numpy as np
import panel as pn
import pytest
from browsers import at, until

from workbench import dashboard, evaluate, runs, views
from workbench.dashboard.pages import modalities as page_of_modalities
from workbench.data import brain
from workbench.errors import InvalidParameter, InvalidRun
from workbench.models import synthesis
from workbench.views import colors, masks, modalities

ARMS = ("tcmgan", "pix2pix")
CASE, HEALTHY = ("b001", "tumour"), ("b003", "healthy")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        for arm in ARMS:
            dashboard_runs.write_modalities(root, arm, seed)
    return root


@pytest.fixture
def found(root):
    return {(run.arm, run.seed): run for run in runs.find(root)}


@pytest.fixture
def pair(found):
    return [found["tcmgan", 0], found["pix2pix", 0]]


# ---------------------------------------------------------------- views


def test_the_names_are_those_of_the_channels():
    assert tuple(name.lower() for name in modalities.MADE) == synthesis.TARGETS
    assert tuple(name.lower() for name in (modalities.GIVEN, *modalities.MADE)) == brain.MODALITIES


def test_the_errors_of_a_method_are_those_of_its_table():
    table, arrays = evaluate.assess(conftest.small_method("tcmgan"), conftest.small_data("brain"))
    assert {name: arrays[name].ndim for name in modalities.NEEDS} == modalities.NEEDS
    for number, mae in enumerate(table["mae"]):
        seen = modalities.error(arrays["target"][number], arrays["color"][number])
        assert seen.mean() == pytest.approx(100 * mae, abs=0.25), "but for the rounding of what is kept"


def test_a_case_is_read(pair):
    case = modalities.read(pair[0], CASE)
    for name in modalities.NEEDS:
        np.testing.assert_array_equal(case[name], pair[0].samples.array(name)[1])
    with pytest.raises(InvalidParameter, match="did you mean b001 tumour"):
        modalities.read(pair[0], ("b001", "tumor"))


def test_errors_are_absolute_and_in_per_cent_of_white():
    one, other = np.array([[0, 255, 10]], np.uint8), np.array([[51, 0, 10]], np.uint8)
    assert modalities.error(one, other) == pytest.approx(np.array([[20, 100, 0]]))
    assert modalities.error(other, one) == pytest.approx(np.array([[20, 100, 0]]))


def test_errors_take_the_colours_of_the_bar():
    tints = modalities.tinted(np.array([[0.0, 15.0, 30.0, 90.0]]), 30)
    bar = [tuple(bytes.fromhex(tint[1:])) for tint in (modalities.Inferno256[n] for n in (0, 128, 255, 255))]
    assert list(map(tuple, tints[0].tolist())) == bar


def test_overlap_of_outlines_is_told_and_healthy_slices_too(pair):
    case = modalities.read(pair[0], CASE)
    both = 2 * (case["label"] & case["mask"]).sum() / (case["label"].sum() + case["mask"].sum())
    assert modalities.overlap(case["label"], case["mask"]) == f"Dice of outlines {both:.3f}"
    assert modalities.overlap(np.zeros((3, 3)), np.eye(3)) == "no tumour, 3 px found"


def test_panels_stand_in_rows_a_run_and_columns_a_modality(pair):
    rows = modalities.panels(pair, CASE)
    assert [len(row) for row in rows] == [4, 4, 4]
    assert [panel.title for panel in rows[0]] == ["T2", "FLAIR", "T1ce", "T1"]
    first, case = rows[1], modalities.read(pair[0], CASE)
    assert first[0].title == views.label(pair[0])
    for number, panel in enumerate(first[1:]):
        np.testing.assert_array_equal(panel.image[..., 1], case["color"][..., number])
    wrong = modalities.panels(pair, CASE, errors=True, limit=20)[2][3]
    expected = modalities.error(*(modalities.read(pair[1], CASE)[key][..., 2] for key in ("target", "color")))
    np.testing.assert_array_equal(wrong.image, modalities.tinted(expected, 20))
    assert {color for _, color, *_ in rows[0][0].lines} == {"#000000", modalities.TRUTH}
    assert {color for _, color, *_ in first[0].lines} == {"#000000", modalities.TRUTH, modalities.FOUND}
    assert modalities.panels(pair, HEALTHY)[0][0].lines == []


def test_static_pictures_are_drawn(pair):
    for errors, bars in ((False, 0), (True, 6)):
        layout = modalities.comparison(pair, CASE, errors)
        assert len(layout) == 12
        maps = [e for e in layout.traverse(lambda e: e, [hv.Image]) if not isinstance(e, hv.RGB)]
        assert len(maps) == bars
        hv.renderer("bokeh").get_plot(layout)


# ---------------------------------------------------------------- which runs can be shown


def text_of(drawn):
    return " ".join(pane.object for pane in drawn.select(pn.pane.HTML))


def test_modalities_are_no_colours(root, found, tmp_path):
    shutil.copytree(root, tmp_path / "runs")
    dashboard_runs.write(tmp_path / "runs", "smcgan", cases=2, size=32)
    every = runs.find(tmp_path / "runs")
    pages = {page.name: page for page in dashboard.select(None)}
    concerned = {name: {run.arm for run in every if page.concerns(run)} for name, page in pages.items()}
    assert concerned["modalities"] == concerned["masks"] == set(ARMS) and concerned["colorizations"] == {"smcgan"}
    assert not any(concerned[name] for name in ("video", "points", "tree"))
    drawn = pages["colorizations"](found.values())
    assert "No finished runs" in text_of(drawn) and "not shown" not in text_of(drawn)
    survey = views.survey(every, colors.NEEDS, kind=colors.colored)
    assert [run.arm for run in survey.runs] == ["smcgan"] and survey.aside == []


def test_the_masks_page_shows_their_tumours(pair):
    survey = views.survey(pair, masks.NEEDS, masks.check)
    assert survey.runs == pair and survey.aside == []
    text = text_of(dashboard.masks(pair))
    assert "cannot be drawn" not in text and "No finished runs" not in text


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("target", np.zeros((6, 32, 32, 4), np.uint8)), ("color", np.zeros((6, 32, 32, 3), np.float32)),
        ("color", np.zeros((6, 16, 16, 3), np.uint8)), ("mask", np.zeros((6, 16, 16), np.uint8)),
        ("image", np.zeros((5, 32, 32), np.uint8)), ("spacing", np.zeros((6, 2), np.float32)),
    ],
)  # fmt: skip
def test_arrays_that_do_not_belong_together_are_set_aside(tmp_path, name, array):
    run = dashboard_runs.write_modalities(tmp_path, "tcmgan")
    np.save(run.path / "samples" / f"{name}.npy", array)
    survey = views.survey([run], modalities.NEEDS, masks.check)
    assert survey.runs == [] and "broken" in survey.aside[0][1]
    assert "No finished runs" in text_of(dashboard.modalities([run]))


# ---------------------------------------------------------------- the page


def opened(found):
    return page_of_modalities.Comparison(list(found.values()))


def test_it_begins_with_the_best_two_arms_and_the_worst_case(found):
    page = opened(found)
    assert [choice.value.arm for choice in page.choices] == ["tcmgan", "pix2pix"]
    assert page.cases.case == views.scores(page.choices[0].value)["fg_psnr"].idxmin()


def test_a_case_is_put_into_its_pictures(found, pair):
    page = opened(found)
    for choice, run in zip(page.choices, pair, strict=True):
        choice.value = run
    page.cases.case = CASE
    sent = page.canvas.source.data
    for letter, run in zip("AB", pair, strict=True):
        case = modalities.read(run, CASE)
        for number in range(3):
            np.testing.assert_array_equal(sent[f"made_{letter}_{number}"][0] & 255, case["color"][..., number])
            wrong = modalities.error(case["target"], case["color"])[..., number]
            np.testing.assert_array_equal(sent[f"error_{letter}_{number}"][0], wrong)
            assert page.board.texts[f"note_{'AB'.index(letter) + 1}_{number + 1}"].count(f"{wrong.mean():.1f} %") == 1
    assert len(page.canvas.outlines["mask_A"].data["xs"]) == 1
    page.cases.case = HEALTHY
    assert len(page.canvas.outlines["truth"].data["xs"]) == 0
    assert "no tumour" in page.board.texts["note_1_0"]


def test_maps_take_the_place_of_pictures_and_share_a_scale(found):
    page = opened(found)
    assert len(page.canvas.covers) == 6 and not any(cover.visible for cover in page.canvas.covers)
    page.shown.value = True
    assert all(cover.visible for cover in page.canvas.covers) and page.board.wrong
    page.limit.value = 10
    assert page.canvas.mapper.high == 10 and "≥ 10 % of white" in page.board.texts["scale"]


def test_outlines_lie_above_the_maps_the_prediction_on_top(found):
    page = opened(found)
    plot = next(plot for plot, names in page.canvas.plots if "mask_A" in names and "made_A_0" in plot.name)
    truth, mask = page.canvas.lines["truth"], page.canvas.lines["mask_A"]
    order = [plot.renderers.index(each) for each in (page.canvas.covers[0], *(r for r in truth if r in plot.renderers))]
    assert order == sorted(order) and plot.renderers.index(next(r for r in mask if r in plot.renderers)) > order[-1]
    page.outlines.value = ["Prediction"]
    assert not truth[0].visible and mask[0].visible


def test_up_to_four_runs_are_shown_and_taken_away(found):
    page = opened(found)
    page.add()
    page.shown.value = True
    page.add()
    assert page.letters == ["A", "B", "C", "D"] and page.more.disabled and page.board.rows == 5
    assert len(page.board.pictures) == 20 and all(cover.visible for cover in page.canvas.covers)
    assert len({views.label(choice.value) for choice in page.choices}) == 4
    page.add()
    assert len(page.choices) == 4
    page.become([choice for choice in page.choices if choice is not page.choices[2]])
    assert page.letters == ["A", "B", "C"] and not page.more.disabled
    assert "note_3_1" in page.board.texts and "D" not in page.cases.table.value


def test_runs_on_other_cases_or_of_another_size(found, tmp_path):
    fewer = dashboard_runs.write_modalities(tmp_path, "tcmgan", cases=4)
    page = page_of_modalities.Comparison([fewer, found["pix2pix", 0]])
    assert len(page.cases.shared) == 4 and "the 4 that all share" in page.board.texts["message"]
    large = dashboard_runs.write_modalities(tmp_path, "pix2pix", size=48)
    with pytest.raises(InvalidRun, match="label maps of one size"):
        modalities.panels([fewer, large], CASE)
    drawn = dashboard.modalities([fewer, large])
    assert any("48 × 48" in str(option) for w in drawn.select(pn.widgets.Select) for option in w.options)


def test_unlike_acquired_images_under_one_name_are_told(found, tmp_path):
    other = dashboard_runs.write_modalities(tmp_path, "tcmgan")
    target = np.array(other.samples.array("target"))
    np.save(other.samples.path / "target.npy", np.maximum(target, 1))
    page = page_of_modalities.Comparison([other, found["pix2pix", 0]])
    assert "unlike acquired images" in page.board.texts["message"]
    assert opened(found).board.texts["message"] == ""


def test_an_array_that_vanishes_while_the_page_is_open_is_told(tmp_path):
    run = dashboard_runs.write_modalities(tmp_path, "tcmgan")
    page = page_of_modalities.Comparison([run])
    (run.path / "samples" / "color.npy").unlink()
    page.cases.step(1)
    assert "color.npy" in page.board.texts["message"]


# ---------------------------------------------------------------- one file


def test_the_file_has_pictures_errors_and_means(pair):
    text = modalities.write(pair, views.shared(pair)[:2])
    assert text.count("<figure") == 2 * (4 + 2 * (4 + 3)) and "2 of 6 cases" in text and "% of white" in text
    assert f"{views.scores(pair[0])['fg_psnr'].mean():.2f}" in text and "<script" not in text


def test_names_out_of_files_cannot_carry_markup(tmp_path):
    run = dashboard_runs.write_modalities(tmp_path, "tcmgan")
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('"arm": "tcmgan"', '"arm": "<script>x</script>"'))
    assert "<script>x" not in modalities.write([runs.Run(run.path)], views.shared([run]))


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


@pytest.mark.browser
def test_the_file_asks_for_nothing(browser, pair, tmp_path):
    path = tmp_path / "modalities.html"
    path.write_text(modalities.write(pair, views.shared(pair)[:1]), encoding="utf-8")
    with browsers.opened(browser, path.as_uri(), 1300, 900) as page:
        shown = page.locator("figure")
        assert shown.count() == 18 and len(np.unique(browsers.pixels(shown.first))) > 20


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def url(root, tmp_path_factory):
    with browsers.serving(root, tmp_path_factory.mktemp("log")) as url:
        yield url


def ready(page):
    place = page.locator("[data-place=place]")
    until(page, lambda: place.count() and "of" in place.first.inner_text())
    page.locator(".tabulator-row").first.wait_for()
    until(page, lambda: picture(page, 11).locator("canvas").count() > 0)
    page.wait_for_timeout(500)


@pytest.fixture
def page(browser, url):
    with browsers.opened(browser, url, 1400, 900) as page:
        ready(page)
        yield page


def picture(page, number):
    return at(page, f"picture-{number}")


def drawn(page, numbers=range(12)):
    return [browsers.pixels(picture(page, number)).tobytes() for number in numbers]


def place(page):
    return page.locator("[data-place=place]").first.inner_text()


@pytest.mark.browser
def test_keys_change_the_case_and_nothing_jumps(page):
    boxes = [picture(page, number).bounding_box() for number in range(12)]
    for key in ("n", "ArrowRight", "p", "ArrowLeft"):
        told, before = place(page), drawn(page, (0, 5, 11))
        page.keyboard.press(key)
        until(page, lambda told=told: place(page) != told)
        until(page, lambda before=before: all(a != b for a, b in zip(drawn(page, (0, 5, 11)), before, strict=True)))
        assert [picture(page, number).bounding_box() for number in range(12)] == boxes


@pytest.mark.browser
def test_pictures_become_maps_and_outlines_go(page):
    before = drawn(page)
    page.get_by_text("Errors", exact=True).click()
    until(
        page,
        lambda: all(
            a != b
            for a, b in zip(drawn(page, (5, 6, 7, 9, 10, 11)), [before[n] for n in (5, 6, 7, 9, 10, 11)], strict=True)
        ),
    )
    assert drawn(page, (0, 1, 2, 3, 4, 8)) == [before[number] for number in (0, 1, 2, 3, 4, 8)]
    image = browsers.pixels(picture(page, 5)).astype(int)
    assert np.ptp(image, axis=-1).max() > 100, "errors are in colour"
    page.get_by_text("Images", exact=True).click()
    until(page, lambda: drawn(page) == before)
    page.get_by_text("Truth", exact=True).click()
    page.get_by_text("Prediction", exact=True).click()
    until(
        page, lambda: all(np.ptp(browsers.pixels(picture(page, n)).astype(int), axis=-1).max() == 0 for n in range(12))
    )


@pytest.mark.browser
def test_all_pictures_zoom_as_one(page):
    before = drawn(page)
    box = picture(page, 6).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -400)
    until(page, lambda: all(a != b for a, b in zip(drawn(page), before, strict=True)))
    page.get_by_text("Whole image").click()
    page.mouse.move(5, 5)
    until(page, lambda: drawn(page) == before)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 900])
def test_nothing_is_clipped(browser, url, width):
    with browsers.opened(browser, url, width, 900) as page:
        ready(page)
        clipped = "(all) => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
        assert page.locator(".note, .head, .title, .place").evaluate_all(clipped) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
