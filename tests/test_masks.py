"""Segmentations: views of images and volumes against numbers by hand, the page without and in a browser, its files."""

import base64
import io
import itertools
import json
import re
import tracemalloc

import browsers
import dashboard_runs
import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import pytest
from browsers import at, until
from PIL import Image

from workbench import dashboard, runs, views
from workbench.dashboard import kinds as kinds_of_data
from workbench.dashboard.pages import masks as page_of_masks
from workbench.errors import InvalidParameter, InvalidRun
from workbench.views import colors, masks, report, volumes

DISC = dashboard_runs.DISC
ORGAN = {"organ": (1,)}


def made(root, arm, label, mask, image=None, spacing=(1.0, 1.0), labels=ORGAN, seed=0, cases=None):
    """A run of arrays made by hand: (N, *S) uint8."""
    shape = "x".join(map(str, label.shape[1:]))
    request = {"method": arm, "config": {}, "budget": {}, "data": {"kind": "organs", "size": shape}, "seed": seed}
    run = runs.create(root, request, arm)
    index = [{"case": name, "group": name} for name in cases or [f"c{n}" for n in range(len(label))]]
    steps = np.array(spacing, np.float32)
    rows = [e | dashboard_runs.overlap(m, t, labels, steps) for e, m, t in zip(index, mask, label, strict=True)]
    image = np.full(label.shape, 100, np.uint8) if image is None else image
    arrays = {"image": image, "label": label, "mask": mask}
    dashboard_runs.finish(run, index, pd.DataFrame(rows), arrays, steps, labels)
    return run


def square(top, left, side=6, size=24, value=1):
    label = np.zeros((size, size), np.uint8)
    label[top : top + side, left : left + side] = value
    return label


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Photographs with two classes: two seeds of two arms, and one seed of a third."""
    root = tmp_path_factory.mktemp("runs")
    for arm, seed in (("crossdenoise", 0), ("crossdenoise", 1), ("unet", 0), ("unet", 1), ("co_teaching", 0)):
        dashboard_runs.write_masks(root, arm, seed, cases=8, size=32)
    return root


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Volumes of three arms."""
    root = tmp_path_factory.mktemp("scans")
    for arm in ("ltnet", "voxelmorph", "identity"):
        dashboard_runs.write_masks(root, arm, cases=4, size=16, volume=True)
    return root


@pytest.fixture
def found(root):
    return usable(root)


def usable(root):
    return views.survey(runs.find(root), masks.NEEDS, masks.check).runs


def pick(found, arm, seed=0):
    return next(run for run in found if (run.arm, run.seed) == (arm, seed))


def rewrite(run, **changes):
    path = run.path / "samples" / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ---------------------------------------------------------------- which runs can be shown


def test_images_in_colour_and_volumes_are_told_apart(root, scans, tmp_path):
    assert {masks.shape(run) for run in usable(root)} == {(32, 32)}
    assert {masks.shape(run) for run in usable(scans)} == {(16, 24, 20)}
    label = np.zeros((2, 5, 4, 3), np.uint8)  # a volume whose last side is that of a colour image
    assert masks.shape(made(tmp_path, "unet", label, label, spacing=(1, 1, 1))) == (5, 4, 3)
    assert len(usable(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "array", "why"),
    [
        ("image", np.zeros((2, 24, 24, 4), np.uint8), "arrays of one size"),
        ("image", np.zeros((2, 12, 24, 24), np.uint8), "arrays of one size"),
        ("image", np.zeros((2, 24, 24), np.float32), "3 or 4 axes of uint8"),
        ("mask", np.zeros((2, 24, 24, 3), np.uint8), "arrays of one size"),
        ("mask", np.zeros((2, 12, 12), np.uint8), "arrays of one size"),
        ("label", np.zeros((2, 24), np.uint8), "3 or 4 axes of uint8"),
        ("spacing", np.ones((2, 3), np.float32), "(2, 2) of mm"),
        ("spacing", np.zeros((2, 2), np.float32), "not above 0"),
        ("spacing", np.full((2, 2), np.nan, np.float32), "not above 0"),
    ],
)
def test_arrays_that_do_not_belong_together_are_set_aside(tmp_path, name, array, why):
    run = made(tmp_path, "unet", square(2, 2)[None].repeat(2, 0), square(3, 3)[None].repeat(2, 0))
    np.save(run.path / "samples" / f"{name}.npy", array)
    survey = views.survey(runs.find(tmp_path), masks.NEEDS, masks.check)
    assert survey.runs == [] and why in survey.aside[0][1]


@pytest.mark.parametrize(
    "labels", [None, {}, [], {"a": 1}, {"a": []}, {"a": ["1"]}, {"a": [0]}, {"a": [255]}, {"a": [True]}]
)
def test_classes_that_cannot_be_are_told(tmp_path, labels):
    run = made(tmp_path, "unet", square(2, 2)[None], square(3, 3)[None])
    rewrite(run, labels=labels)
    survey = views.survey(runs.find(tmp_path), masks.NEEDS, masks.check)
    assert survey.runs == [] and "under labels" in survey.aside[0][1]


def test_a_run_without_spacing_is_set_aside(tmp_path):
    run = made(tmp_path, "unet", square(2, 2)[None], square(3, 3)[None])
    rewrite(run, arrays=["image", "label", "mask"])
    assert "spacing" in views.survey(runs.find(tmp_path), masks.NEEDS, masks.check).aside[0][1]


def test_colorizations_are_no_segmentations(tmp_path):
    dashboard_runs.write(tmp_path, "gray", cases=2, size=16)
    assert views.survey(runs.find(tmp_path), masks.NEEDS, masks.check) == views.Survey([], [])
    assert [page.concerns(runs.find(tmp_path)[0]) for page in dashboard.select(["masks", "colorizations"])] == [
        False,
        True,
    ]


# ---------------------------------------------------------------- arrays


def test_errors_by_hand():
    label, mask = np.array([[1, 1, 0], [2, 2, 0]], np.uint8), np.array([[1, 2, 1], [2, 0, 0]], np.uint8)
    assert masks.errors(label, mask, DISC["disc"]).tolist() == [[1, 1, 2], [1, 3, 0]]
    assert masks.errors(label, mask, DISC["cup"]).tolist() == [[0, 2, 0], [1, 3, 0]]
    found = masks.counts(masks.errors(label, mask, DISC["disc"]))
    assert found == {"true positive": 3, "false positive": 1, "false negative": 1}
    dice = 2 * 3 / (2 * 3 + 1 + 1)
    assert dashboard_runs.overlap(mask, label, DISC, np.ones(2))["dice_disc"] == pytest.approx(dice)


def test_of_overlapping_classes_the_smaller_is_seen_and_the_larger_where_that_is_off():
    label = np.array([0, 1, 2, 9], np.uint8)
    assert masks.codes(label, DISC, ["cup", "disc"]).tolist() == [0, 2, 1, 0]
    assert masks.codes(label, DISC, ["disc"]).tolist() == [0, 2, 2, 0]
    assert masks.codes(label, DISC, ["cup"]).tolist() == [0, 0, 1, 0]
    assert masks.codes(label, DISC, []).tolist() == [0, 0, 0, 0]


def test_contours_are_in_mm_of_each_axis():
    (path,) = masks.contours(square(2, 3, side=4), (1,), (0.5, 2.0))
    assert path.min(axis=0) == pytest.approx([3 * 2.0, 2 * 0.5]) and path.max(axis=0) == pytest.approx(
        [7 * 2.0, 6 * 0.5]
    )


def test_values_of_no_class_are_counted():
    label = np.array([[0, 1, 2], [7, 7, 9]], np.uint8)
    assert masks.strangers(label, DISC) == {7: 2, 9: 1}
    assert masks.strangers(label, {"all": (1, 2, 7, 9)}) == {}


def test_painting_is_a_weighted_mean():
    image, seen = np.array([[100, 100]], np.uint8), np.array([[0, 1]], np.uint8)
    assert masks.painted(image, seen, ["#ff0080"], 0.25).tolist() == [[[100, 100, 100], [139, 75, 107]]]
    assert masks.painted(image, seen, ["#ff0080"]).tolist() == [[[100, 100, 100], [255, 0, 128]]]


def test_colours_can_be_told_apart():
    tints = [tuple(bytes.fromhex(tint[1:])) for tint in {*masks.CLASSES}]
    assert len(tints) == 7 and min(np.abs(np.subtract(a, b)).sum() for a, b in itertools.combinations(tints, 2)) > 80


def test_truth_and_prediction_are_drawn_differently():
    truth = masks.strokes(square(2, 2), ORGAN, ORGAN, (1, 1), truth=True)
    other = masks.strokes(square(2, 2), ORGAN, ORGAN, (1, 1), truth=False)
    assert [look[1:] for look in truth] != [look[1:] for look in other]
    assert truth[-1][1] == other[-1][1] == masks.CLASSES[0] and truth[-1][3] != "solid" == other[-1][3]


def test_of_classes_that_touch_the_smaller_one_is_drawn_on_top():
    label = square(2, 2, side=12)
    label[6:9, 6:9] = 2
    names = {"small": (2,), "large": (1,)}
    tints = [color for _, color, *_ in masks.strokes(label, names, names, (1, 1), truth=True)]
    assert tints[-1] == masks.palette(names)["small"] and masks.palette(names)["large"] in tints


# ---------------------------------------------------------------- volumes


@pytest.mark.parametrize(
    ("name", "corner", "letters"),
    [("sagittal", (0, -1), "PAIS"), ("coronal", (0, -1), "LRIS"), ("axial", (0, -1), "LRPA")],
)
def test_slices_have_right_front_and_head_where_the_letters_say(name, corner, letters):
    volume = np.zeros((1, 4, 5, 6), np.uint8)
    volume[0, -1, :, :] += 1  # right
    volume[0, :, -1, :] += 2  # front
    volume[0, :, :, -1] += 4  # head
    plane = volumes.PLANES[name]
    cut = volumes.cut(volume, 0, plane, 0)
    assert cut.shape == tuple(volume.shape[1:][axis] for axis in (plane.up, plane.across))
    assert cut[corner] == {"sagittal": 6, "coronal": 5, "axial": 3}[name]
    assert plane.letters("neurological") == letters
    flipped = {"sagittal": "PAIS", "coronal": "RLIS", "axial": "RLPA"}[name]
    assert plane.letters("radiological") == flipped and plane.mirrored("radiological") == (flipped != letters)


def test_only_the_slice_is_read(tmp_path):
    shape = (2, 400, 400, 400)  # sparse: 128 MB that take no room on disk
    for name in ("image", "label", "mask"):
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.uint8, shape).flush()
    np.save(tmp_path / "spacing.npy", np.ones((2, 3), np.float32))
    names = ["image", "label", "mask", "spacing"]
    index = {"cases": [{"case": "a"}, {"case": "b"}], "arrays": names, "labels": {"organ": [1]}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    run = runs.Run(tmp_path)
    run.__dict__["samples"] = runs.Samples(tmp_path)
    tracemalloc.start()
    for plane in volumes.PLANES.values():
        assert masks.read(run, ("b", ""), plane, 200)["mask"].shape == (400, 400)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_the_middle_of_the_truth(scans):
    run = usable(scans)[0]
    label = run.samples.array("label")[2]
    middle = masks.center(run, ("h0002", ""))
    assert label[middle] > 0 or label[middle[0]].any()
    assert volumes.middle(np.zeros((4, 6, 8), np.uint8)) == (2, 3, 4)


# ---------------------------------------------------------------- comparisons as files


def drawn(element):
    return np.dstack([element.dimension_values(d, flat=False)[::-1] for d in element.vdims])


def test_comparison_holds_the_arrays_of_the_case(found):
    pair, case = [pick(found, "crossdenoise"), pick(found, "unet")], ("f0003", "")
    layout = masks.comparison(pair, case, focus="cup")
    number = [entry["case"] for entry in pair[0].samples.cases].index("f0003")
    pictures = [next(iter(overlay)) for overlay in layout.values()]
    image = pair[0].samples.array("image")[number]
    for place in (0, 1, 2, 3):
        np.testing.assert_array_equal(drawn(pictures[place]), image)
    for run, picture in zip(pair, pictures[4:], strict=True):
        label, mask = (run.samples.array(name)[number] for name in ("label", "mask"))
        seen = masks.errors(label, mask, DISC["cup"])
        expected = masks.painted(masks.grey(image), seen, list(masks.ERRORS.values()), 0.65)
        np.testing.assert_array_equal(drawn(picture), expected)
    hv.render(layout, backend="bokeh")


def test_comparison_of_volumes_has_three_planes_in_true_proportion(scans):
    pair = usable(scans)[:2]
    layout = masks.comparison(pair, ("h0001", ""), at=(3, 20, 5), convention="neurological")
    pictures = [next(iter(overlay)) for overlay in layout.values()]
    assert len(pictures) == 3 * 2 * 3
    volume = pair[0].samples.array("image")[1]
    for place, slice_ in ((3, volume[3].T[::-1]), (9, volume[:, 20].T[::-1]), (15, volume[:, :, 5].T[::-1])):
        np.testing.assert_array_equal(drawn(pictures[place])[..., 0], slice_)
        left, bottom, right, top = pictures[place].bounds.lbrt()
        steps = {3: (0.8, 1.0), 9: (0.8, 1.0), 15: (1.0, 1.0)}[place]
        assert (top - bottom, right - left) == pytest.approx(np.multiply(slice_.shape, steps))
    flipped = masks.comparison(pair, ("h0001", ""), at=(3, 20, 5)).values()
    np.testing.assert_array_equal(drawn(next(iter(flipped[15])))[..., 0], volume[:, :, 5].T[::-1, ::-1])


def test_comparison_refuses_what_cannot_be_laid_side_by_side(tmp_path, found):
    run = pick(found, "unet")
    small = dashboard_runs.write_masks(tmp_path, "unet", cases=2, size=16)
    with pytest.raises(InvalidRun, match=r"one size.*\(32, 32\).*\(16, 16\)"):
        masks.comparison([run, small], ("f0000", ""))
    other = made(tmp_path, "crossover", square(1, 1, size=32)[None], square(1, 1, size=32)[None], cases=["f0000"])
    with pytest.raises(InvalidRun, match="the same classes"):
        masks.comparison([run, other], ("f0000", ""))
    with pytest.raises(InvalidParameter, match="did you mean cup"):
        masks.comparison([run], ("f0000", ""), focus="cups")
    with pytest.raises(InvalidParameter, match="did you mean f000"):
        masks.comparison([run], ("f000", ""))
    with pytest.raises(InvalidParameter, match="radiological"):
        masks.comparison([run], ("f0000", ""), convention="radiologic")
    with pytest.raises(InvalidParameter, match="voxel"):
        masks.comparison([run], ("f0000", ""), at=(0, 99))


def test_the_report_holds_the_pictures_of_the_worst_cases_and_asks_for_nothing(found):
    pair = [pick(found, "unet"), pick(found, "crossdenoise")]
    tables = [views.scores(run) for run in pair]
    worst = report.worst(tables[:1], "hd95", count=3)
    assert [key for key, _ in worst] == list(
        tables[0]["hd95"].sort_values(ascending=False).index.map(lambda k: k[0])[:3]
    )
    against = report.worst(tables, "dice", count=1)
    assert against == [(tables[0]["dice"] - tables[1]["dice"]).idxmin()]
    text = report.write(pair, worst, focus="cup")
    assert not re.search(r"<script|https?://|@import|<link", text)
    pictures = re.findall(r"base64,([A-Za-z0-9+/=]+)'", text)
    assert len(pictures) == 3 * 6 and text.count("<figure>") == 3 * 6
    number = [entry["case"] for entry in pair[0].samples.cases].index(worst[0][0])
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[3]))))
    np.testing.assert_array_equal(first, pair[0].samples.array("image")[number])
    assert f">{tables[0].loc[[worst[0]], 'dice_cup'].iloc[0]:.3f}<" in text
    assert f">{tables[1]['hd95'].mean():.2f}<" in text


# ---------------------------------------------------------------- the page without a browser


def comparison(found):
    return page_of_masks.Comparison(found)


def image_of(page, plane="image"):
    return page.pictures.sources[plane].data["image"][0]


def test_the_page_begins_with_the_worst_case_of_the_best_run(found):
    page = comparison(found)
    assert [run.arm for run in page.chosen_runs] == ["crossdenoise", "co_teaching"]
    dice = views.scores(page.chosen_runs[0])["dice"]
    assert page.cases.case == dice.idxmin() and "1 of 8" in page.board.texts["place"]
    number = masks.number(page.chosen_runs[0], page.cases.case)
    np.testing.assert_array_equal(image_of(page), colors.rgba(page.chosen_runs[0].samples.array("image")[number]))
    np.testing.assert_array_equal(
        page.pictures.sources["image"].data["luma"][0], masks.grey(page.chosen_runs[0].samples.array("image")[number])
    )


def test_layers_and_lines_follow_style_classes_and_truth(found):
    page = comparison(found)
    data, lines = page.pictures.sources["image"], page.pictures.lines
    number = masks.number(page.chosen_runs[1], page.cases.case)
    label, mask = (page.chosen_runs[1].samples.array(name)[number] for name in ("label", "mask"))
    wrong = masks.errors(label, mask, DISC["disc"])
    np.testing.assert_array_equal(data.data["error_B"][0], np.where(wrong, wrong + 2, 0))
    assert data.data["layer_B"][0].shape == (1, 1)
    assert "4 4" in lines["image", "B"].data["dash"] and "solid" in lines["image", "B"].data["dash"]
    page.truth.value = False
    assert set(lines["image", "B"].data["dash"]) == {"solid"} and "4 4" in lines["image", "truth"].data["dash"]
    page.style.value = "Filled"
    np.testing.assert_array_equal(data.data["layer_B"][0], masks.codes(mask, DISC, ["cup", "disc"]))
    np.testing.assert_array_equal(data.data["truth"][0], masks.codes(label, DISC, ["cup", "disc"]))
    assert lines["image", "B"].data["xs"] == []
    page.shown.value = ["disc"]
    np.testing.assert_array_equal(data.data["layer_B"][0], masks.codes(mask, DISC, ["disc"]))
    page.focus.value = "cup"
    wrong = masks.errors(label, mask, DISC["cup"])
    np.testing.assert_array_equal(data.data["error_B"][0], np.where(wrong, wrong + 2, 0))
    counted = masks.counts(wrong)
    told = page.board.texts["note_1"]
    assert f"TP {counted['true positive']}" in told and f"FN {counted['false negative']}" in told
    page.opacity.value = 100
    assert page.pictures.mapper.palette[1:3] == [f"{tint}ff" for tint in masks.CLASSES[:2]]


def test_contours_of_the_page_stand_where_the_mask_is(tmp_path):
    run = made(tmp_path, "unet", square(2, 4)[None], square(3, 5)[None], spacing=(2.0, 0.5))
    page = comparison([run])
    data = page.pictures.lines["image", "truth"].data
    assert (data["xs"][0].min(), data["xs"][0].max()) == pytest.approx((4 * 0.5, 10 * 0.5))
    assert (data["ys"][0].min(), data["ys"][0].max()) == pytest.approx(((24 - 8) * 2.0, (24 - 2) * 2.0))
    source = page.pictures.sources["image"].data
    assert (source["height"], source["width"]) == ([48.0], [12.0])
    y, x = page.pictures.ranges
    assert ((x.start, x.end), (y.start, y.end)) == ((0, 12), (0, 48))


def test_numbers_of_the_case_are_those_of_the_table_of_scores(found):
    page = comparison(found)
    page.cases.step(3)
    scores = [views.scores(run).loc[[page.cases.case]].iloc[0] for run in page.chosen_runs]
    for metric, digits in (("dice_cup", 3), ("hd95_disc", 2), ("centroid_cup", 2)):
        for each in scores:
            assert f">{each[metric]:.{digits}f}<" in page.board.texts["numbers"]
    assert "HD95 disc <span class='muted'>mm</span>" in page.board.texts["numbers"]


def test_another_case_changes_data_and_no_figures(found):
    page = comparison(found)
    root = page.view().get_root()
    before = set(root.references())
    page.cases.step(1)
    page.choices[1].value = pick(found, "unet")
    page.style.value = "Filled"
    kinds = {type(model).__name__ for model in set(root.references()) - before}
    assert not kinds & {"Plot", "GlyphRenderer", "ColumnDataSource", "Range1d"}


def test_runs_are_added_and_taken_away(found):
    page = comparison(found)
    case = page.cases.case
    for count in (3, 4, 5, 5):
        page.add()
        assert len(page.choices) == count == len(page.board.choices)
    assert page.letters == list("ABCDE") and page.more.disabled
    assert len({views.label(run) for run in page.chosen_runs}) == 5 and page.cases.case == case
    assert list(page.cases.table.value) == ["case", "group", *"ABCDE", "A − B"]
    page.pair.value = ("C", "E")
    third, fifth = (views.scores(page.chosen_runs[place]).loc[page.cases.shared, "dice"] for place in (2, 4))
    np.testing.assert_allclose(page.cases.table.value["C − E"], (third - fifth).to_numpy(), atol=1e-6)
    np.testing.assert_allclose(page.points.source.data["x"], third.to_numpy("float32"))
    page.cases.table.sorters = [{"field": "C − E", "dir": "asc"}]
    assert page.cases.shared[page.cases.order()[0]] == (third - fifth).idxmin()
    page.become([choice for choice in page.choices if choice is not page.choices[2]])
    assert page.pair.value == ("A", "B") and list(page.cases.table.value) == ["case", "group", *"ABCD", "A − B"]
    assert page.cases.table.sorters == []
    shown = page.pictures.sources["image"].data
    assert {"layer_A", "error_D"} <= set(shown) and "layer_E" not in shown


def test_distances_are_worst_where_they_are_highest(found):
    page = comparison(found)
    page.cases.metric.value = "hd95_cup"
    page.cases.worst()
    assert page.cases.case == views.scores(page.chosen_runs[0]).loc[page.cases.shared, "hd95_cup"].idxmax()
    assert (page.points.plate.upper, page.points.plate.lower) == ("A better", "B better")
    page.cases.metric.value = "dice"
    assert (page.points.plate.upper, page.points.plate.lower) == ("B better", "A better")


def test_a_point_of_the_scatter_opens_its_case(found):
    page = comparison(found)
    page.points.source.selected.indices = [5]
    assert page.cases.case == page.cases.shared[5]
    assert page.points.source.selected.indices == []
    page.points.source.selected.indices = [5]
    x, y = (page.points.ring.data[axis] for axis in ("x", "y"))
    scores = [views.scores(run).loc[page.cases.shared, "dice"].iloc[5] for run in page.chosen_runs]
    assert (x[0], y[0]) == pytest.approx(scores, rel=1e-6)


def test_planes_follow_sliders_clicks_and_the_convention(scans):
    page = comparison(usable(scans))
    run = page.chosen_runs[0]
    volume = run.samples.array("image")[masks.number(run, page.cases.case)]
    assert page.at() == (8, 12, 10)
    page.sliders["axial"].value = 3
    np.testing.assert_array_equal(image_of(page, "axial"), volume[:, :, 3].T[::-1])
    np.testing.assert_array_equal(image_of(page, "sagittal"), volume[8].T[::-1])
    assert "4/20" in page.board.texts["slice_2"]
    page.tapped(volumes.PLANES["coronal"], 2.5, 0.8 * 7.5)
    assert page.at() == (2, 12, 7)
    np.testing.assert_array_equal(image_of(page, "sagittal"), volume[2].T[::-1])
    cross = page.pictures.lines["coronal", "A"].data
    assert cross["xs"][-2].tolist() == [2.5, 2.5] and cross["ys"][-1] == pytest.approx([7.5 * 0.8] * 2)
    page.tapped(volumes.PLANES["axial"], 99, -5)
    assert page.at() == (15, 0, 7)
    right = page.pictures.ranges[0]
    assert right.start > right.end and ">R<" in page.board.texts["letters_3"].split("class='right'")[0]
    page.convention.value = "neurological"
    assert right.start < right.end and ">L<" in page.board.texts["letters_3"].split("class='right'")[0]
    page.center.clicks += 1
    assert page.at() == masks.center(run, page.cases.case)


def test_volumes_show_errors_in_place_of_the_style(scans):
    page = comparison(usable(scans))
    page.style.value = "Errors"
    run = page.chosen_runs[1]
    number = masks.number(run, page.cases.case)
    label, mask = (run.samples.array(name)[number, 8].T[::-1] for name in ("label", "mask"))
    wrong = masks.errors(label, mask, (2,))
    np.testing.assert_array_equal(page.pictures.sources["sagittal"].data["layer_B"][0], np.where(wrong, wrong + 2, 0))
    assert f"FP {(wrong == 2).sum()}" in page.board.texts["note_1"]


def test_data_of_another_kind_are_chosen_apart(root, scans, tmp_path):
    found = usable(root) + usable(scans) + [dashboard_runs.write_masks(tmp_path, "unet", cases=2, size=16)]
    kinds = kinds_of_data.kinds(found)
    brain = "anatomy3d 16 × 24 × 20 · anterior, posterior"
    expected = {"fundus 32 × 32 · cup, disc": 5, brain: 3, "fundus 16 × 16 · cup, disc": 1}
    assert {title: len(each) for title, each in kinds.items()} == expected
    shown = dashboard.masks(found)
    (choice,) = [each for each in shown.select(pn.widgets.Select) if list(each.options) == list(kinds)]
    choice.value = brain
    (board,) = shown.select(page_of_masks.board.Board)
    assert [slider.end for slider in board.sliders] == [15, 23, 19]


# ---------------------------------------------------------------- what is odd is told in one line


def test_values_of_no_class_are_told_and_drawn_as_background(tmp_path):
    mask = square(3, 3)
    mask[0, :5] = 77
    page = comparison([made(tmp_path, "unet", square(2, 2)[None], mask[None])])
    assert "mask.npy has values of no class, drawn as background: 77 (5 pixels)" in page.board.texts["message"]
    page.style.value = "Filled"
    assert page.pictures.sources["image"].data["layer_A"][0].max() == 1


def test_unlike_truths_are_told(tmp_path):
    one = made(tmp_path, "unet", square(2, 2)[None], square(3, 3)[None])
    two = made(tmp_path, "crossover", square(2, 3)[None], square(3, 3)[None])
    assert "A and B hold unlike truths" in comparison([one, two]).board.texts["message"]


def test_runs_without_a_case_in_common_leave_the_page_as_it_was(tmp_path):
    pair = [made(tmp_path, arm, square(2, 2)[None], square(3, 3)[None]) for arm in ("unet", "crossover")]
    other = made(tmp_path, "unet", square(2, 2)[None], square(9, 9)[None], seed=1, cases=["x"])
    page = comparison(pair)
    page.options[views.label(other)] = other
    page.add()
    assert "none in common" in page.board.texts["message"] and len(page.choices) == 2
    page.choices[1].options = page.options
    page.choices[1].value = other
    assert "none in common" in page.board.texts["message"]
    assert list(page.cases.table.value) == ["case", "A", "B", "A − B"]


def test_runs_that_share_no_case_from_the_start_are_told(tmp_path):
    made(tmp_path, "unet", square(2, 2)[None], square(3, 3)[None])
    made(tmp_path, "crossover", square(2, 2)[None], square(3, 3)[None], cases=["x"])
    text = " ".join(pane.object for pane in dashboard.masks(runs.find(tmp_path)).select(pn.pane.HTML))
    assert "This page cannot be drawn" in text and "none in common" in text and "Traceback" not in text


def test_only_shared_cases_are_listed_and_the_page_says_so(tmp_path, found):
    less = dashboard_runs.write_masks(tmp_path, "unet", 9, cases=3, size=32)
    page = comparison([pick(found, "crossdenoise"), less])
    assert len(page.cases.shared) == 3 and "the 3 that all share" in page.board.texts["message"]


def test_an_array_that_vanishes_while_the_page_is_open_is_told(tmp_path):
    run = dashboard_runs.write_masks(tmp_path, "unet", cases=3, size=16)
    page = comparison([run])
    (run.path / "samples" / "mask.npy").unlink()
    page.cases.step(1)
    assert "mask.npy" in page.board.texts["message"]


def test_names_out_of_files_cannot_carry_markup(tmp_path):
    bad = {"<script>x</script>": (1,)}
    mask = square(3, 3)
    mask[0] = 9
    run = made(tmp_path, "unet", square(2, 2)[None], mask[None], labels=bad, cases=["<script>y</script>"])
    page = comparison([run])
    assert "<script>" not in " ".join(page.board.texts.values())
    assert "<script>" not in page.export().read().decode()


def test_an_empty_folder_says_what_makes_runs(tmp_path):
    text = " ".join(pane.object for pane in dashboard.masks(runs.find(tmp_path)).select(pn.pane.HTML))
    assert "No finished runs with image, label, mask" in text and "workbench run crossdenoise" in text


def test_pages_without_runs_to_show_have_no_tab(root, tmp_path):
    titles = [tab for app in dashboard.app(root).select(pn.Tabs) for tab in app._names]
    assert titles == ["Masks", "Metrics"]


# ---------------------------------------------------------------- the page in a browser


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Grey images with a square of the truth and one of each run beside it, so that every pixel is known."""
    root = tmp_path_factory.mktemp("plain")
    label = np.stack([square(6, 4 + n) for n in range(5)])
    for arm, shift in (("crossover", 2), ("unet", 4)):
        made(root, arm, label, np.stack([square(6, 4 + n + shift + (n == 3)) for n in range(5)]))
    return root


@pytest.fixture(scope="module")
def server(plain, tmp_path_factory):
    with browsers.serving(plain, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def page(browser, server):
    with browsers.opened(browser, server, 1440, 900) as page:
        ready(page)
        yield page


def ready(page):
    picture(page, 1).locator("canvas").first.wait_for()
    page.locator(".tabulator-row").first.wait_for()
    page.wait_for_timeout(500)


def picture(page, number):
    return at(page, f"picture-{number}")


def place(page):
    return page.locator("[data-place=place]").inner_text()


def seen(page, number, row, column, size=24):
    """The colour in the middle of a pixel of the image, as it is drawn in a picture."""
    drawn = browsers.pixels(picture(page, number), margin=1)
    height, width = drawn.shape[:2]
    return tuple(drawn[int((row + 0.5) / size * height), int((column + 0.5) / size * width)].tolist())


def rgb(tint):
    return tuple(bytes.fromhex(tint[1:]))


@pytest.mark.browser
def test_overlays_have_the_right_colours_in_the_right_places(page):
    number = int(place(page).split()[0][1:])  # the case that is shown: its squares start at 4 + number
    left = 4 + number
    grey, organ = (100, 100, 100), rgb(masks.CLASSES[0])
    page.get_by_text("Filled", exact=True).click()
    slider = at(page, "at_opacity").locator(".noUi-handle")
    slider.focus()
    page.keyboard.press("End")
    until(page, lambda: seen(page, 0, 8, left + 2) == organ)
    until(page, lambda: seen(page, 1, 8, left + 5 + (number == 3)) == organ)
    assert seen(page, 0, 8, left - 2) == seen(page, 0, 3, left + 2) == grey
    assert seen(page, 1, 3, left + 5) == seen(page, 1, 8, left + 12) == grey
    assert seen(page, 3, 8, left + 2) == grey, "the plain image"
    shift = 2 + (number == 3)
    tints = [rgb(tint) for tint in masks.ERRORS.values()]
    spots = {left + 4: tints[0], left + 5 + shift: tints[1], left: tints[2], left - 2: grey}
    until(page, lambda: seen(page, 4, 8, left + 4) == tints[0])
    assert {column: seen(page, 4, 8, column) for column in spots} == spots


@pytest.mark.browser
def test_contours_are_dashed_for_the_truth_and_plain_for_a_prediction(page):
    number = int(place(page).split()[0][1:])

    def colours(picture_number, column):
        """The colours met on the way down the left border of a square."""
        drawn = browsers.pixels(picture(page, picture_number), margin=1)
        height, width = drawn.shape[:2]
        edge = round(column / 24 * width)
        strip = drawn[int(7 / 24 * height) : int(11 / 24 * height), edge - 1 : edge + 2].reshape(-1, 3)
        return {tuple(pixel) for pixel in strip.tolist()}

    tint, shift = rgb(masks.CLASSES[0]), 2 + (number == 3)
    assert {tint, (255, 255, 255)} <= colours(0, 4 + number)
    prediction = colours(1, 4 + number + shift)
    assert tint in prediction and (255, 255, 255) not in prediction
    page.get_by_text("organ", exact=True).first.click()
    until(page, lambda: tint not in colours(1, 4 + number + shift))
    assert colours(0, 4 + number) == {(100, 100, 100)}


@pytest.mark.browser
def test_a_click_on_a_point_opens_its_case(page, plain):
    before = place(page)
    scatter = at(page, "at_plot")

    def spots():
        """Rows and columns of the ring, which is orange, and of points, which are blue, away from it."""
        drawn = browsers.pixels(scatter, margin=0).astype(int)
        ring, dots = (np.argwhere(drawn[..., i] - drawn[..., 2 - i] > 60) for i in (0, 2))
        return ring, dots[np.hypot(*(dots - ring.mean(axis=0)).T) > 20] if len(ring) else ring

    scatter.locator("canvas").first.wait_for()
    until(page, lambda: len(spots()[1]) > 0)
    box, point = scatter.bounding_box(), spots()[1][0]
    page.mouse.click(box["x"] + float(point[1]) + 1, box["y"] + float(point[0]) + 2)
    until(page, lambda: place(page) != before)
    case = place(page).split()[0]
    until(page, lambda: page.locator(".tabulator-selected").first.inner_text().split()[0] == case)


@pytest.mark.browser
def test_keys_change_the_case_and_nothing_moves(page):
    places = ("at_back", "at_whole", "at_save", *(f"picture-{number}" for number in range(6)))
    where = {name: at(page, name).bounding_box() for name in places}
    before = [browsers.pixels(picture(page, number)).tobytes() for number in range(6)]
    for key, expected in (("ArrowRight", 2), ("j", 3), ("k", 2)):
        page.keyboard.press(key)
        until(page, lambda expected=expected: f"{expected} of 5" in place(page))
    page.wait_for_timeout(300)
    changed = [browsers.pixels(picture(page, number)).tobytes() != before[number] for number in range(6)]
    assert changed == [True, True, True, False, True, True]  # the image itself is plain grey
    assert {name: at(page, name).bounding_box() for name in places} == where


@pytest.mark.browser
def test_zoom_is_linked(page):
    before = [browsers.pixels(picture(page, number)).tobytes() for number in range(6)]
    box = picture(page, 1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -300)
    shown = (0, 1, 2, 4, 5)
    until(page, lambda: all(browsers.pixels(picture(page, n)).tobytes() != before[n] for n in shown))
    page.get_by_text("Whole image").click()
    page.mouse.move(5, 5)
    until(page, lambda: all(browsers.pixels(picture(page, n)).tobytes() == before[n] for n in shown))


@pytest.mark.browser
def test_a_run_is_added_in_the_browser(browser, root, tmp_path):
    with browsers.serving(root, tmp_path) as url, browsers.opened(browser, url, 1440, 900) as page:
        ready(page)
        page.get_by_text("Add run", exact=True).click()
        until(page, lambda: "C" in page.locator(".tabulator-col-title").all_inner_texts())
        until(page, lambda: len(set(map(tuple, browsers.pixels(picture(page, 3)).reshape(-1, 3)))) > 50)
        page.locator("select:visible").nth(1).select_option(label="B, C")
        until(page, lambda: "C better" in at(page, "upper_left").text_content())
        page.get_by_text("✕", exact=True).click()
        until(page, lambda: "C" not in page.locator(".tabulator-col-title").all_inner_texts())


@pytest.mark.browser
def test_sliders_and_clicks_move_the_planes(browser, tmp_path):
    """Every voxel of the volume tells where it is: 10 a step to the right, front and head in turn."""
    axes = np.meshgrid(*[np.arange(8)] * 3, indexing="ij")
    label = np.zeros((3, 8, 8, 8), np.uint8)
    label[:, 3:5, 3:5, 3:5] = 1
    image = np.stack([10 + 30 * axis for axis in axes]).astype(np.uint8)
    made(tmp_path / "runs", "ltnet", label, label, image, spacing=(1.0, 1.0, 1.0), cases=["right", "front", "head"])
    with browsers.serving(tmp_path / "runs", tmp_path) as url, browsers.opened(browser, url, 1440, 900) as page:
        ready(page)
        assert place(page).split()[0] == "right"
        assert seen(page, 0, 1, 1, 8) == (130,) * 3, "sagittal slice 5 of 8"
        assert seen(page, 2, 1, 1, 8)[0] == 10 + 30 * 6, "coronal, the right at the left"
        handle = at(page, "slider-0").locator(".noUi-handle")
        handle.focus()
        page.keyboard.press("ArrowRight")
        until(page, lambda: seen(page, 0, 1, 1, 8) == (160,) * 3)
        assert "Sagittal 6/8" in page.locator("[data-place=slice_0]").inner_text()
        box = picture(page, 4).bounding_box()  # axial
        page.mouse.click(box["x"] + box["width"] * 6.5 / 8, box["y"] + box["height"] * 2.5 / 8)
        until(page, lambda: "Sagittal 2/8" in page.locator("[data-place=slice_0]").inner_text())
        until(page, lambda: seen(page, 0, 1, 1, 8) == (40,) * 3)
        assert "Coronal 6/8" in page.locator("[data-place=slice_1]").inner_text()
        whole = [browsers.pixels(picture(page, number)).tobytes() for number in (0, 2, 4)]
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
        page.mouse.wheel(0, -300)
        until(page, lambda: browsers.pixels(picture(page, 4)).tobytes() != whole[2])
        page.wait_for_timeout(400)
        assert all(browsers.pixels(picture(page, n)).tobytes() != before for n, before in zip((0, 2, 4), whole))
        page.get_by_text("Whole image").click()
        page.mouse.move(5, 5)
        until(page, lambda: [browsers.pixels(picture(page, n)).tobytes() for n in (0, 2, 4)] == whole)


@pytest.mark.browser
def test_the_export_is_a_page_of_its_own(page, browser, tmp_path):
    number = int(place(page).split()[0][1:])
    with page.expect_download() as started:
        page.get_by_text("Export 12 cases").click()
    path = tmp_path / "masks.html"
    started.value.save_as(path)
    with browsers.opened(browser, path.as_uri()) as opened:
        assert opened.locator("svg").count() == 5 * 6
        left = 4 + number
        shot = browsers.pixels(opened.locator("svg").nth(4), margin=0)
        scale = len(shot) / 24
        both, truth = (shot[int(8.5 * scale), int((left + column + 0.5) * scale)].tolist() for column in (4, 0))
        assert np.abs(np.subtract(both, (35, 138, 110))).max() <= 1, "0.65 of the colour of true positives on 100"
        assert np.abs(np.subtract(truth, (168, 114, 144))).max() <= 1, "and of that of false negatives"


@pytest.mark.browser
def test_a_saved_comparison_opens_without_a_network(found, browser, tmp_path):
    layout = masks.comparison([pick(found, "crossdenoise"), pick(found, "unet")], ("f0002", ""))
    path = tmp_path / "comparison.html"
    report.save(layout, path, "Comparison")
    with browsers.opened(browser, path.as_uri()) as page:
        page.locator("canvas").nth(5).wait_for()
        until(page, lambda: len(set(map(tuple, browsers.pixels(page.locator("body")).reshape(-1, 3)[::50]))) > 100)
