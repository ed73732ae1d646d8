"""Classifications: what is written, views against numbers by hand, the pages without and in a browser."""

import json

import browsers
import dashboard_runs
import holoviews as hv
import numpy as np
import pandas as pd
import pytest
import torch
from browsers import until

from workbench import dashboard, evaluate, metrics, runs, study, views
from workbench.dashboard.pages import classification
from workbench.dashboard.pages import embeddings as page_of_embeddings
from workbench.dashboard.pages import labels as page_of_labels
from workbench.errors import InvalidParameter, InvalidRun
from workbench.views import classes, embeddings, labels, matrices, reliability, report


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for arm in ("cclnet", "hardlabels", "pretrained"):
        dashboard_runs.write_classes(root, arm)
    return root


@pytest.fixture
def found(root):
    return {run.arm: run for run in runs.find(root)}


def written(folder, truth, names=("a", "b"), table=None, groups=None, **arrays):
    """A finished run of these very arrays."""
    run = runs.create(
        folder, {"method": "byhand", "config": {}, "data": {}, "seed": len(list(folder.iterdir()))}, "byhand"
    )
    count = len(next(iter(arrays.values())))
    cases = [{"case": f"c{n}", "group": str(groups[n] if groups else n)} for n in range(count)]
    for name, array in arrays.items():
        np.save(run.path / "samples" / f"{name}.npy", np.asarray(array))
    told = {"cases": cases, "arrays": sorted(arrays), "labels": {name: [n] for n, name in enumerate(names)}}
    runs.write_json(run.path / "samples" / "index.json", told | {"truth": truth, "train": 10})
    pd.DataFrame(cases).assign(**(table or {"accuracy": 1.0})).to_parquet(run.path / "scores.parquet")
    (run.path / "done").touch()
    return run


def logits(called, sure, count):
    """Logits (N, K) whose softmax gives the class called the probability `sure` and the others equal shares."""
    values = np.full((len(called), count), np.nan)
    for row, (number, p) in enumerate(zip(called, sure)):
        values[row] = np.log((1 - p) / (count - 1))
        values[row, number] = np.log(p)
    return values.astype(np.float32)


def cells(drawn):
    """The columns of the coloured cells."""
    (boxes,) = drawn.traverse(lambda x: x, [hv.Rectangles])
    return {name: boxes.dimension_values(name) for name in map(str, boxes.vdims)}


# ---------------------------------------------------------------- what is written


def test_a_training_keeps_truth_names_and_vectors_of_all_cases(tmp_path):
    options = {"size": 32, "train": 20, "labelled": 12, "valid": 6, "test": 18, "labels": "nodule"}
    task = study.Task("gradhist", study.Arm("gradhist", {}, {"epochs": 1}), "radiograph", options, 0, tmp_path)
    run, _ = study.train(task)
    index = run.samples.index
    assert (index["truth"], list(index["labels"]), index["train"]) == ("label", ["nodule"], 12)
    assert run.samples.array("label").shape == (18, 1) == run.samples.array("known").shape
    assert classes.read(run).probability.shape == (18, 1) and labels.number(run) == 12


def test_vectors_are_kept_in_half_precision_and_bounded():
    kept = evaluate.encoded("feature", torch.tensor([[1.0, 1e6], [0.5, -1e6]]))
    assert kept.dtype == np.float16 and kept.tolist() == [[1.0, 65504.0], [0.5, -65504.0]]
    assert evaluate.encoded("feature", torch.zeros(2, 1, 4, 4)).dtype == np.float32, "a heat map is no vector"
    assert evaluate.encoded("label", torch.tensor([[1.0], [0.0]])).tolist() == [[1], [0]]


# ---------------------------------------------------------------- truth and probabilities


def test_probabilities_are_those_of_the_softmax(tmp_path):
    run = written(tmp_path, "class", **{"class": np.array([0, 1, 2], "f4")}, names="abc",
                  logits=logits([0, 1, 0], [0.8, 0.5, 0.6], 3))  # fmt: skip
    outcome = classes.read(run)
    assert outcome.exclusive and outcome.called.tolist() == [0, 1, 0]
    assert outcome.probability[0] == pytest.approx([0.8, 0.1, 0.1])


def test_unknown_findings_are_neither_there_nor_not(tmp_path):
    run = written(tmp_path, "label", label=np.array([[1, 0], [0, 1]], "u1"), known=np.array([[1, 0], [1, 1]], "f4"),
                  score=np.array([[0.9, 0.4], [0.5, 0.2]], "f4"))  # fmt: skip
    outcome = classes.read(run)
    np.testing.assert_array_equal(outcome.truth, [[1, np.nan], [0, 1]])
    assert outcome.called.tolist() == [[1, 0], [1, 0]]


def test_of_two_classes_the_run_says_what_it_called(tmp_path):
    arrays = {"closed": np.array([0, 1, 1], "f4"), "score": np.array([0.1, 0.7, 0.9], "f4")}
    run = written(tmp_path, "closed", ("open", "closed"), {"accuracy": [1.0, 0.0, 1.0]}, **arrays)
    outcome = classes.read(run)
    assert outcome.called.tolist() == [0, 0, 1], "its threshold lies between 0.7 and 0.9"
    assert outcome.probability[1] == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize(
    ("arrays", "file"),
    [
        ({"class": np.array([0, 2], "f4"), "logits": np.zeros((2, 2), "f4")}, "class.npy"),
        ({"class": np.array([0, 1], "f4"), "logits": np.zeros((2, 3), "f4")}, "logits.npy"),
        ({"class": np.array([0, 1], "f4"), "logits": np.full((2, 2), np.nan, "f4")}, "logits.npy"),
    ],
)
def test_runs_that_cannot_be_so_are_set_aside(tmp_path, arrays, file):
    run = written(tmp_path, "class", **arrays)
    with pytest.raises(InvalidRun, match=file):
        classes.read(run)
    ((_, why),) = views.survey([run], {}, classification.check, classes.judges).aside
    assert file in why


# ---------------------------------------------------------------- matrices


def test_confusion_counts_rows_of_the_true_class(tmp_path):
    run = written(tmp_path, "class", **{"class": np.array([0, 0, 0, 0, 1], "f4")},
                  logits=logits([0, 0, 0, 1, 1], [0.9] * 5, 2))  # fmt: skip
    found = cells(matrices.confusion(run))
    assert found["cases"].tolist() == [3, 1, 0, 1] and found["share"].tolist() == [0.75, 0.25, 0, 1]
    assert found["row"].tolist() == ["a", "a", "b", "b"] and found["column"].tolist() == ["a", "b", "a", "b"]
    drawn = hv.render(matrices.confusion(run), backend="bokeh")
    assert drawn.yaxis[0].axis_label == "True class" and drawn.xaxis[0].axis_label == "Called"
    assert drawn.yaxis[0].major_label_overrides[1] == "b" and drawn.y_range.start > drawn.y_range.end


def test_confusion_of_findings_leaves_out_the_unknown(tmp_path):
    run = written(tmp_path, "label", ("a",), label=np.array([[1], [1], [0], [0], [1]], "u1"),
                  known=np.array([[1], [1], [1], [1], [0]], "f4"),
                  score=np.array([[0.9], [0.1], [0.2], [0.3], [0.9]], "f4"))  # fmt: skip
    found = cells(matrices.confusion(run))
    assert found["cases"].tolist() == [2, 0, 1, 1] and found["share"].tolist() == [1, 0, 0.5, 0.5]


def test_correlations_are_centred_at_zero_beside_what_is_known(found):
    left, right = matrices.correlation(found["cclnet"])
    values = found["cclnet"].samples.whole("correlation")
    assert cells(left)["correlation"] == pytest.approx(values.ravel())
    for part in (left, right):
        (bar,) = hv.render(part, backend="bokeh").right
        assert (bar.color_mapper.low, bar.color_mapper.high) == (-1, 1)
    with pytest.raises(InvalidRun, match="learned correlation"):
        matrices.correlation(found["hardlabels"])


def test_ranks_agree_with_spearman_by_hand():
    known, same = np.eye(3) + 0.0, np.eye(3) + 0.0
    known[np.triu_indices(3, 1)], same[np.triu_indices(3, 1)] = (1, 2, 3), (10, 30, 20)
    assert matrices.ranks(same, known) == pytest.approx(0.5)
    assert np.isnan(matrices.ranks(np.ones((3, 3)), known))


# ---------------------------------------------------------------- reliability


def test_bins_and_error_by_hand():
    table = reliability.binned(np.array([0.1, 0.3, 0.5, 0.9, 1.0]), np.array([0.0, 1, 0, 1, 1]), 2)
    assert table["cases"].tolist() == [3, 2] and table["confidence"].tolist() == pytest.approx([0.3, 0.95])
    assert table["right"].tolist() == pytest.approx([1 / 3, 1.0])
    assert reliability.ece(table) == pytest.approx((3 * (1 / 3 - 0.3) + 2 * 0.05) / 5)
    none = reliability.binned(np.full(10, 0.2), np.zeros(10), 1)
    assert none["to"][0] == pytest.approx(1.959964**2 / (10 + 1.959964**2)), "Wilson's upper end of 0 of 10"


def test_the_error_is_the_metric_of_the_table():
    rng = np.random.default_rng(0)
    confidence, right = rng.random(300), (rng.random(300) < 0.6).astype(float)
    parts = metrics.calibration_parts(torch.tensor(confidence), torch.tensor(right))
    assert reliability.BINS == metrics.BINS
    assert reliability.ece(reliability.binned(confidence, right)) == pytest.approx(float(parts.mean()))


def test_a_diagram_holds_bins_counts_and_error(tmp_path):
    run = written(tmp_path, "class", **{"class": np.array([0, 0, 1, 1], "f4")},
                  logits=logits([0, 1, 1, 1], [0.9, 0.9, 0.9, 0.6], 2))  # fmt: skip
    upper, lower = reliability.reliability([run], bins=2)
    line = [each for each in upper.traverse(lambda x: x, [hv.Curve]) if each.label]
    assert line[0].dimension_values("share") == pytest.approx([0.75])
    assert line[0].dimension_values("confidence") == pytest.approx([0.825])
    assert line[0].label.endswith("ECE 0.075")
    (steps,) = lower.traverse(lambda x: x, [hv.Histogram])
    assert steps.dimension_values("cases").tolist() == [0, 4]


def test_every_finding_has_its_own_diagram(tmp_path):
    run = dashboard_runs.write_classes(tmp_path, "hardlabels", findings=True)
    outcome = classes.read(run)
    confidence, there = classes.sure(outcome, "effusion")
    known = np.isfinite(outcome.truth[:, 1])
    assert len(confidence) == known.sum() == 32
    assert there == pytest.approx(outcome.truth[known, 1]) and confidence == pytest.approx(
        outcome.probability[known, 1]
    )
    assert len(reliability.reliability([run])) == 4 and len(reliability.reliability([run], "nodule")) == 2
    with pytest.raises(InvalidParameter, match="did you mean nodule"):
        reliability.reliability([run], "nodul")


# ---------------------------------------------------------------- embeddings


def test_pca_is_the_singular_value_decomposition():
    values = np.random.default_rng(0).normal(size=(50, 5)) * (4, 2, 1, 1, 1) + 10
    found = embeddings.pca(values)
    _, sizes, ways = np.linalg.svd(values - values.mean(0), full_matrices=False)
    assert found.explained == pytest.approx(sizes[:2] ** 2 / (sizes**2).sum())
    assert np.abs(found.points) == pytest.approx(np.abs((values - values.mean(0)) @ ways[:2].T))
    assert embeddings.pca(-values).points == pytest.approx(-found.points), "signs do not depend on the solver"


def test_the_map_shows_every_case_in_the_colour_of_its_class(found):
    run = found["cclnet"]
    (drawn,) = embeddings.embedding([run])
    clouds = drawn.traverse(lambda x: x, [hv.Points])
    number = np.array(run.samples.array("class"))
    assert [len(cloud) for cloud in clouds] == np.bincount(number.astype(int)).tolist()
    points = embeddings.pca(run.samples.array("feature")).points
    assert clouds[1].dimension_values("x") == pytest.approx(points[number == 1, 0])
    share = 100 * embeddings.pca(run.samples.array("feature")).explained[0]
    figure = hv.render(drawn, backend="bokeh")
    assert figure.xaxis[0].axis_label == f"PC 1 ({share:.1f} % of the variance)"


def test_nearest_by_cosine_without_the_own_group():
    feature = np.array([[1, 0], [2, 0.1], [1, 1], [0, 3], [1, 0.05]])
    numbers, cosines = embeddings.nearest(feature, np.array([0, 1, 2, 3, 0]), np.array([0]), 5)
    assert numbers[0].tolist() == [1, 2, 3, -1, -1], "4 is of its group"
    assert cosines[0, :3] == pytest.approx([2 / np.hypot(2, 0.1), np.sqrt(0.5), 0], abs=1e-6)


def test_neighbours_tell_class_and_whether_it_is_the_same(tmp_path):
    feature = np.array([[1, 0], [1, 0.1], [1, 0.3], [0, 1]], "f2")
    run = written(tmp_path, "class", **{"class": np.array([0, 0, 1, 1], "f4")}, feature=feature)
    table = embeddings.neighbours(run, ("c0", ""), 2)
    assert table["case"].tolist() == ["c1", "c2"] and table["class"].tolist() == ["a", "b"]
    assert table["same"].tolist() == [1, 0]
    with pytest.raises(InvalidParameter, match="case"):
        embeddings.neighbours(run, ("c9", ""))


def test_neighbours_by_finding_leave_the_unknown_open(tmp_path):
    feature, known = np.array([[1, 0], [1, 0.1], [1, 0.2]], "f2"), np.array([[1, 1], [1, 1], [0, 1]], "f4")
    run = written(tmp_path, "label", label=np.array([[1, 1], [1, 0], [0, 1]], "u1"), known=known, feature=feature)
    same = {name: embeddings.neighbours(run, ("c0", ""), 2, name)["same"].tolist() for name in ("a", "b", None)}
    np.testing.assert_array_equal(same["a"], [1, np.nan])
    assert same["b"] == [0, 1] and same[None] == [0, 1]
    assert embeddings.described(run) == ["a, b", "a", "b"]


def test_purity_against_chance(tmp_path):
    feature = np.repeat(np.eye(2), 3, 0).astype("f2")
    run = written(tmp_path, "class", **{"class": np.array([0, 0, 0, 1, 1, 1], "f4")}, feature=feature)
    assert embeddings.purity(run, 2) == pytest.approx((1.0, 2 / 5))
    paired = written(tmp_path, "class", groups=[0, 0, 1, 2, 2, 3], **{"class": np.array([0, 0, 0, 1, 1, 1], "f4")},
                     feature=feature)  # fmt: skip
    assert embeddings.purity(paired, 1) == pytest.approx((1.0, (4 * 1 + 2 * 2) / (4 * 4 + 2 * 5)))


def test_a_volume_is_shown_by_its_middle(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (2, 5, 6, 7), dtype=np.uint8)
    run = written(tmp_path, "class", image=image, feature=np.eye(2, dtype="f2"), **{"class": np.zeros(2, "f4")})
    np.testing.assert_array_equal(embeddings.picture(run, 1), image[1, :, :, 3].T[::-1])
    assert len(embeddings.neighbourhood(run, ("c0", ""))) == 2


# ---------------------------------------------------------------- label curves


@pytest.fixture
def table():
    rows = [
        ("x", 10, 0, 0.6),
        ("x", 10, 1, 0.8),
        ("x", 40, 0, 0.9),
        ("y", 10, 0, 0.5),
        ("y", 10, 1, 0.6),
        ("y", 40, 0, 0.7),
    ]
    table = pd.DataFrame(rows, columns=["arm", "labels", "seed", "auc"])
    return pd.concat(
        [table.assign(case=f"c{n}", group=f"g{n}", auc=table["auc"] + d) for n, d in enumerate((-0.1, 0.1))]
    )


def test_means_have_intervals_over_seeds(table):
    found = labels.means(table, "auc").set_index(["arm", "labels"])
    row = found.loc["x", 10]
    assert (row["mean"], row["seeds"]) == (pytest.approx(0.7), 2)
    assert row["high"] - row["mean"] == pytest.approx(12.7062 * 0.1, rel=1e-4), "t of one degree, sd / sqrt 2 = 0.1"
    assert np.isnan(found.loc["x", 40]["low"])


def test_gains_are_paired_at_equal_numbers_of_labels(table):
    found = labels.gains(table, "auc", "y").set_index("labels")
    assert found.loc[10, "mean"] == pytest.approx(0.15) and found.loc[40, "mean"] == pytest.approx(0.2)
    assert set(found["arm"]) == {"x"}


def test_a_gain_is_above_zero_where_less_is_better(table):
    table = table.rename(columns={"auc": "ece"})
    drawn = labels.gain(table, "ece", "y", {"x": "red", "y": "blue"})
    (line,) = drawn.traverse(lambda x: x, [hv.Curve])
    assert line.dimension_values("mean") == pytest.approx([-0.15, -0.2])
    upper, lower = labels.label_curve(table, "ece", "y")
    figure = hv.render(lower, backend="bokeh")
    assert type(figure.x_scale).__name__ == "LogScale" and figure.y_range.end > 0 > figure.y_range.start
    assert "↓ better" in hv.render(upper, backend="bokeh").yaxis[0].axis_label


def test_stages_are_left_out_and_own_numbers_cut_off(tmp_path):
    few = dashboard_runs.write_classes(tmp_path, "hardlabels", findings=True, train=20)
    many = dashboard_runs.write_classes(tmp_path, "cclnet", findings=True, train=60)
    config = json.loads((many.path / "config.json").read_text())
    (many.path / "config.json").write_text(json.dumps(config | {"arm": "hardlabels-60", "before": few.id}))
    again = {run.id: run for run in runs.find(tmp_path)}
    table = labels.counted(again.values())
    assert set(table["labels"]) == {60} and set(table["arm"]) == {"hardlabels"}
    (many.path / "config.json").write_text(json.dumps(config | {"arm": "tuned", "before": few.id}))
    table = labels.counted(runs.find(tmp_path))
    assert set(zip(table["arm"], table["labels"], strict=True)) == {("hardlabels", 20), ("tuned", 60)}, "its own arm"
    with pytest.raises(InvalidParameter, match="labels"):
        labels.label_curve(pd.DataFrame({"arm": ["x"], "auc": [1.0]}), "auc")


# ---------------------------------------------------------------- files


def test_a_document_asks_for_nothing(found):
    drawn = [matrices.confusion(found["cclnet"]), *reliability.reliability([found["cclnet"]])]
    text = report.document("Some runs", [("First", drawn[:1]), ("Second", drawn[1:])])
    assert text.count("data-root-id") == 3 and "<h2>Second</h2>" in text
    assert "<script src=" not in text and "src=" not in text.rsplit("<body>", 1)[1]


# ---------------------------------------------------------------- the pages


def test_pages_appear_where_their_arrays_are(found, tmp_path):
    concerned = {arm: [p.name for p in dashboard.select(None) if p.concerns(run)] for arm, run in found.items()}
    assert concerned["cclnet"] == ["classification", "embeddings", "labels", "metrics"]
    assert concerned["pretrained"] == ["embeddings", "metrics"]
    alike = list(found.values())
    assert not dashboard.labels.worth(alike), "all learnt from as many labels"
    more = dashboard_runs.write_classes(tmp_path, "cclnet", train=60)
    assert dashboard.labels.worth([*alike, more])


def test_a_click_on_a_point_opens_its_case_on_both_sides(found):
    page = page_of_embeddings.Comparison([found["cclnet"], found["pretrained"]])
    first, second = page.sides
    first.map.source.selected.indices = [9]
    assert page.case == ("c0009", "") and "c0009" in page.place.object
    for side in (first, second):
        near = embeddings.neighbours(side.run.value, page.case)
        places = side.found.points[[*near["number"], 9]]
        assert side.map.rings.data["x"] == pytest.approx(places[:, 0])
        assert f"{near['same'].sum():.0f} of its 8" in side.told.object
        assert side.strip.content["markup"].count("data-case") == 9
    second.strip.picked = int(near["number"][0])
    assert page.case == (near["case"][0], "")


def test_steps_stop_at_the_ends_and_other_runs_are_read(found):
    page = page_of_embeddings.Comparison(list(found.values()))
    page.step(-3)
    assert page.case == page.shared[0]
    page.sides[0].run.value = found["hardlabels"]
    expected = embeddings.pca(found["hardlabels"].samples.array("feature")).points
    assert page.sides[0].map.source.data["x"] == pytest.approx(expected[:, 0])
    assert b"data-root-id" in page.export().getvalue()


def test_findings_colour_the_map(tmp_path):
    run = dashboard_runs.write_classes(tmp_path, "hardlabels", findings=True)
    page = page_of_embeddings.Comparison([run])
    page.finding.value = "effusion"
    tints = page.sides[0].map.source.data["color"]
    assert tints.count(embeddings.FOUND["unknown"]) == 8 and "unknown" in page.legend.object


def test_the_page_of_classifications_shows_both_runs(found):
    page = classification.Comparison([found["cclnet"], found["hardlabels"]])
    shown = [cells(place.object)["cases"] for place in page.confusions]
    for run, numbers in zip(page.chosen, shown):
        assert numbers.tolist() == matrices.counts(classes.read(run)).ravel().tolist()
    assert len(page.alike[0]) == 2, "what is known and what one of them learned"
    page.choices[0].value = page.choices[1].value = found["hardlabels"]
    assert len(page.alike) == 0
    assert cells(page.confusions[0].object)["cases"].tolist() == cells(page.confusions[1].object)["cases"].tolist()
    assert page.export().getvalue().count(b"data-root-id") == 4


def test_the_page_of_label_curves_tells_gains(tmp_path):
    made = [dashboard_runs.write_classes(tmp_path, arm, seed, findings=True, train=train)
            for arm in ("cclnet", "hardlabels") for seed in (0, 1) for train in (20, 80)]  # fmt: skip
    page = page_of_labels.Curves(made)
    assert page.metric.value == "accuracy" and page.reference.value == "hardlabels"
    gains = labels.gains(page.scores, "accuracy", "hardlabels")
    assert f"{gains['mean'].iloc[0]:+.3f}" in page.table.object
    page.reference.value = "cclnet"
    assert "Arm − cclnet" in page.table.object


def test_in_a_browser_a_neighbour_becomes_the_case(root, tmp_path):
    with (
        browsers.chromium() as browser,
        browsers.serving(root, tmp_path) as url,
        browsers.opened(browser, url, 1440, 1000) as page,
    ):
        until(page, lambda: page.locator("canvas").count() >= 4)
        page.get_by_text("Embeddings", exact=True).first.click()
        until(page, lambda: page.locator("button[data-case]:visible").count() == 18)
        other = page.locator("button.other:visible, button.same:visible").first
        number = int(other.get_attribute("data-case"))
        assert page.get_by_text(f"c{number:04d}", exact=True).count() == 0
        other.click()
        until(page, lambda: page.get_by_text(f"c{number:04d}", exact=True).count() == 1)
