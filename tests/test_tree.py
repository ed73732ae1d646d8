"""Trees: what is read, alerts and slices by hand, the turning stage, the page without and in a browser, its file."""

import browsers
import dashboard_runs
import numpy as np
import panel as pn
import pytest
from browsers import at, until

from workbench import dashboard, runs, views
from workbench.dashboard.pages import tree as page_of_trees
from workbench.errors import InvalidParameter, InvalidRun
from workbench.views import treereport, trees, turntable

ARMS = ("neuronqc", "rulescore", "chance")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for arm in ARMS:
        dashboard_runs.write_trees(root, arm)
    return root


@pytest.fixture
def found(root):
    return {run.arm: run for run in runs.find(root)}


def key_of(run, number):
    return views.key(run.samples.cases[number])


def neuron(parent=(-1, 0, 1, 2, 3, 4), alerts=(), score=None, errors=(), **fields):
    """A path along x with nodes a micrometre apart, in a stack of 10 voxels along each axis."""
    count = len(parent)
    points = np.c_[np.arange(count), np.full((count, 2), 5.0)] + 0.5
    alert = np.isin(np.arange(count), alerts)
    known = {"onset": np.zeros(count), "branch": np.zeros(count), "tolerance": 1.0} | fields
    score = np.linspace(0, 1, count) if score is None else np.array(score, float)
    sides = np.full(3, 10.0)
    return trees.Neuron(
        points, np.array(parent), score, alert, errors=list(errors), sides=sides, voxel=np.ones(3),
        corner=np.array([100.0, 0.0, 0.0]), unit="µm", **known,
    )  # fmt: skip


# ---------------------------------------------------------------- what is read


def test_nodes_are_read_in_micrometres_and_without_padding(found):
    run = found["neuronqc"]
    one = trees.read(run, key_of(run, 1))
    stored = np.array(run.samples.array("nodes")[1, 0])
    assert len(one.points) == 110 < stored.shape[0]
    assert one.points[7] == pytest.approx((stored[7, ::-1] + 0.5) * (0.5, 0.5, 2.0))
    assert one.files[7] == pytest.approx(stored[7, ::-1] * (0.5, 0.5, 2.0) + (30, 20, 10), abs=1e-4)
    assert one.sides == pytest.approx((26, 22, 40)) and one.tolerance == pytest.approx(1.5) and one.unit == "µm"
    assert one.errors == [(55, "overshoot"), (98, "spurious branch")]
    with pytest.raises(InvalidParameter, match="did you mean neuron-000"):
        trees.read(run, ("neuron-00010", ""))


def test_a_slice_is_that_of_the_stack_and_nothing_else(found):
    run = found["neuronqc"]
    volume = np.array(run.samples.array("volume")[2])
    cuts = [trees.cut(run, key_of(run, 2), plane, 9) for plane in trees.PLANES.values()]
    for image, expected in zip(cuts, (volume[9], volume[:, :, 9].T, volume[:, 9])):
        np.testing.assert_array_equal(image[::-1], expected)


def test_blocks_of_a_reduced_stack_are_as_wide_as_their_voxels_together(tmp_path):
    run = dashboard_runs.write_trees(tmp_path, "neuronqc", cases=2)
    samples = run.path / "samples"
    np.save(samples / "volume.npy", np.load(samples / "volume.npy")[:, :, ::2, ::2])
    np.save(samples / "block.npy", np.array([[1, 2, 2]] * 2, np.float32))
    one = trees.read(run, key_of(run, 0))
    assert one.voxel == pytest.approx((1.0, 1.0, 2.0)) and one.sides == pytest.approx((26, 22, 40))
    assert trees.voxel_at(one, np.array([3.9, 21.9, 40.0])).tolist() == [3, 21, 19]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("score", lambda a: a[:, :, :-1], "score.npy: expected shape"),
        ("nodes", lambda a: a.astype(np.float64), "nodes.npy: expected shape"),
        ("volume", lambda a: a.astype(np.float32), "volume.npy: expected 4 axes of uint8"),
        ("spacing", lambda a: 0 * a, "spacing.npy: expected lengths above 0"),
    ],
)
def test_runs_that_cannot_be_shown_are_set_aside_with_a_reason(tmp_path, name, change, words):
    run = dashboard_runs.write_trees(tmp_path, "neuronqc", cases=2)
    path = run.path / "samples" / f"{name}.npy"
    np.save(path, change(np.load(path)))
    survey = views.survey([run], trees.NEEDS, trees.check)
    assert not survey.runs and words in survey.aside[0][1]


def test_parents_that_make_no_tree_are_told(tmp_path):
    run = dashboard_runs.write_trees(tmp_path, "neuronqc", cases=2)
    path = run.path / "samples" / "parent.npy"
    parent = np.load(path)
    parent[0, 0, 4] = 9
    np.save(path, parent)
    with pytest.raises(InvalidRun, match=r"parent\.npy: expected a tree of neuron-0000"):
        trees.read(run, key_of(run, 0))


# ---------------------------------------------------------------- alerts


def test_alerts_are_runs_at_their_highest_score():
    one = neuron(alerts=(1, 2, 5), score=[0, 0.7, 0.9, 0, 0, 0.8])
    table = trees.alerts(one)
    assert table["node"].tolist() == [2, 5] and table["nodes"].tolist() == [2, 1]
    assert table["x"].tolist() == pytest.approx([102.5, 105.5]) and table["kind"].tolist() == ["false alert"] * 2


def test_an_alert_within_the_tolerance_detects_its_error_and_others_are_unseen():
    one = neuron(alerts=(1, 2), errors=[(3, "jump"), (5, "overshoot")])
    assert trees.alerts(one)["kind"].tolist() == ["jump", "unseen overshoot"]
    assert trees.alerts(neuron(alerts=(1,), errors=[(3, "jump")]))["kind"].tolist() == ["false alert", "unseen jump"]


def test_alerts_on_wrong_branches_are_not_false():
    wrong = np.array([0, 0, 0, 0, 1, 1.0])
    assert trees.alerts(neuron(alerts=(5,), branch=wrong))["kind"].tolist() == ["wrong branch"]
    assert trees.alerts(neuron(alerts=(5,), onset=-wrong))["kind"].tolist() == ["left out"]
    assert trees.alerts(neuron()).empty and trees.start(neuron(), trees.alerts(neuron())) == 5


def test_kinds_count_what_the_scores_count(found):
    for run in found.values():
        for number in range(5):
            one = trees.read(run, key_of(run, number))
            rows = trees.alerts(one)
            assert rows["nodes"].sum() == one.alert.sum()
            assert rows["kind"].str.startswith("unseen").sum() <= len(one.errors)


# ---------------------------------------------------------------- slices


def test_only_the_trace_near_a_slice_is_drawn_on_it():
    one = neuron()
    lines = {name: trees.strokes(one, plane, one.points[0], (0, 1), 10) for name, plane in trees.PLANES.items()}
    cross = 4
    assert len(lines["XY"]) == 5 + cross and len(lines["YZ"]) == 2 + cross
    path, color, *_ = lines["XY"][4]
    assert path.tolist() == [[4.5, 5.5], [5.5, 5.5]] and color == turntable.palette()[255]
    assert len(trees.strokes(one, trees.PLANES["XY"], one.points[0], (0, 1), 10, trace=False)) == cross


# ---------------------------------------------------------------- the stage


def test_projection_keeps_lengths_and_is_that_of_the_slices():
    points = np.random.default_rng(0).standard_normal((20, 3))
    for angles in turntable.VIEWS.values():
        assert np.linalg.norm(turntable.project(points, *angles), axis=1) == pytest.approx(
            np.linalg.norm(points, axis=1)
        )
    assert turntable.project(points, *turntable.VIEWS["XY"])[:, :2] == pytest.approx(points[:, :2] * (1, -1))
    assert turntable.project(points, *turntable.VIEWS["XZ"])[:, :2] == pytest.approx(points[:, [0, 2]])


def test_a_tree_is_drawn_from_the_back_to_the_front():
    stage = turntable.Stage(1, "µm")
    one = neuron(alerts=(2,), errors=[(4, "jump")], branch=np.array([0, 0, 0, 0, 1, 1.0]))
    stage.fit(one.sides)
    stage.trees[0].show(one.drawn(), one.sides, one.corner)
    data = {name: source.data for name, source in stage.trees[0].sources.items()}
    assert (np.diff(data["nodes"]["near"]) >= 0).all() and sorted(data["nodes"]["node"]) == list(range(6))
    assert [len(data[name]["u0"]) for name in ("edges", "wrong", "box")] == [5, 2, 12]
    alert = data["nodes"]["node"].tolist().index(2)
    assert data["alerts"]["u"] == pytest.approx(data["nodes"]["u"][[alert]]) and data["nodes"]["px"][
        alert
    ] == pytest.approx(102.5)
    assert data["errors"]["told"] == ["jump begins at node 4"] and data["labels"]["text"][0] == "x 100 to 110 µm"


# ---------------------------------------------------------------- the page


def opened(found):
    return page_of_trees.Comparison(list(found.values()))


def test_it_begins_with_the_worst_neuron_and_its_first_alert(found):
    page = opened(found)
    assert (page.a.value.arm, page.b.value.arm) == ("neuronqc", "rulescore")
    assert page.cases.case == views.scores(found["neuronqc"])["ap"].idxmin()
    one = trees.read(found["neuronqc"], page.cases.case)
    assert page.alerts.node == np.flatnonzero(one.alert)[one.score[one.alert].argmax()]


def test_steps_go_down_the_alerts_and_move_the_slices(found):
    page = opened(found)
    page.cases.case = key_of(found["neuronqc"], 0)
    listed = page.alerts.nodes
    assert len(listed) > 2
    for step in (1, 2):
        page.alerts.step(1)
        assert page.alerts.node == listed[step] and f"{step + 1} of" in page.board.texts["count"]
        assert_shown(page, found["neuronqc"], listed[step])
    page.alerts.step(-50)
    assert page.alerts.node == listed[0]
    page.alerts.table.sorters = [{"field": "score", "dir": "asc"}]
    page.alerts.step(-50)
    assert page.alerts.node == page.alerts.table.value.sort_values("score")["node"].iloc[0]


def assert_shown(page, run, node):
    """Slices, their window and the rings belong to a node."""
    one = trees.read(run, page.cases.case)
    point = one.points[node]
    index = trees.voxel_at(one, point)
    for name, plane in trees.PLANES.items():
        expected = trees.cut(run, page.cases.case, plane, index[plane.axis])
        np.testing.assert_array_equal(page.pictures.sources[name].data["image"][0], expected)
    for each in page.stage.trees:
        seen = each.sources["chosen"].data
        assert [seen[axis][0] for axis in "xyz"] == pytest.approx(point - one.sides / 2, abs=1e-4)


def test_a_picked_node_is_shown_with_the_alerts_of_its_tree(found):
    page = opened(found)
    page.stage.pick.data = {"tree": [1], "node": [17], "count": [1]}
    assert page.active.value == "B" and page.alerts.node == 17 and page.alerts.table.selection == []
    assert_shown(page, found["rulescore"], 17)
    expected = trees.alerts(trees.read(found["rulescore"], page.cases.case))["node"].tolist()
    assert page.alerts.nodes == expected


def test_a_click_on_a_slice_goes_to_the_nearest_node(found):
    page = opened(found)
    one = trees.read(found["neuronqc"], page.cases.case)
    page.alerts.choose(30)
    page.tapped(trees.PLANES["XY"], *one.points[31][:2])
    assert page.alerts.node == 31
    page.alerts.choose(30)
    away = np.abs(one.points[:, 2] - one.points[30][2]).argmax()
    page.tapped(trees.PLANES["XY"], *one.points[away][:2])
    assert page.alerts.node != away, "it is not on this slice"


def test_a_narrow_field_is_centred_and_keeps_the_zoom(found):
    page = opened(found)
    page.field.value = 0.5
    one = trees.read(found["neuronqc"], page.cases.case)
    page.alerts.choose(20)
    for place, ends in zip(one.points[20], page.pictures.ranges):
        assert (ends.start + ends.end) / 2 == pytest.approx(place) and abs(ends.end - ends.start) == pytest.approx(20)
    assert page.pictures.ranges[1].start > page.pictures.ranges[1].end, "y runs downwards"
    page.pictures.ranges[0].update(start=0, end=5)
    page.alerts.choose(40)
    assert page.pictures.ranges[0].end - page.pictures.ranges[0].start == pytest.approx(5)


def test_one_run_alone_is_drawn_large(found):
    page = opened(found)
    page.b.value = page_of_trees.NONE
    assert page.board.single and page.runs == [found["neuronqc"]]
    page.b.value = found["chance"]
    assert not page.board.single and len(page.neurons) == 2


def test_a_stack_that_vanishes_while_the_page_is_open_is_told(tmp_path):
    run = dashboard_runs.write_trees(tmp_path, "neuronqc", cases=2)
    page = page_of_trees.Comparison([run])
    (run.path / "samples" / "volume.npy").unlink()
    page.alerts.step(1)
    page.alerts.choose(3)
    assert "volume.npy" in page.board.texts["message"]


def test_runs_without_stacks_leave_one_clear_note(tmp_path):
    run = dashboard_runs.write_trees(tmp_path, "neuronqc", cases=2)
    (run.path / "samples" / "score.npy").unlink()
    drawn = dashboard.tree([run])
    text = " ".join(pane.object for pane in drawn.select(pn.pane.HTML))
    assert "score.npy" in text and "workbench fit neuronqc" in text


def test_a_dashboard_of_such_runs_has_the_page(root, found):
    assert dashboard.tree.concerns(found["chance"]) and not dashboard.masks.concerns(found["chance"])
    assert "Trees" in [name for name in dashboard.app(root)[1]._names]


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


def node_of(page):
    return at(page, "node").inner_text().partition("·")[0]


def drawn(page, name):
    return browsers.pixels(at(page, name)).tobytes()


@pytest.mark.browser
def test_in_a_browser_trees_turn_and_keys_and_clicks_move_the_slices(browser, root, tmp_path):
    with browsers.serving(root, tmp_path) as url, browsers.opened(browser, url, 1440, 900) as page:
        until(page, lambda: at(page, "node").count() and "Node" in at(page, "node").inner_text())
        page.locator(".tabulator-row").first.wait_for()
        page.wait_for_timeout(500)
        names = ("at_tree_a", "at_tree_b", "at_slice_0", "at_following")
        where = {name: at(page, name).bounding_box() for name in names}
        before, told = {name: drawn(page, name) for name in names}, node_of(page)
        page.keyboard.press("n")
        until(page, lambda: node_of(page) != told and drawn(page, "at_slice_0") != before["at_slice_0"])
        assert "2 of" in at(page, "count").inner_text()
        page.keyboard.press("p")
        until(page, lambda: node_of(page) == told and "1 of" in at(page, "count").inner_text())
        at(page, "at_following").click()
        until(page, lambda: node_of(page) != told)
        assert {name: at(page, name).bounding_box() for name in names} == where, "nothing jumps"
        turned(page, where["at_tree_a"])
        clicked(page, where["at_tree_b"])


def turned(page, box):
    """A drag on one tree turns both, and the node stays."""
    before, told = {name: drawn(page, name) for name in ("at_tree_a", "at_tree_b", "at_slice_0")}, node_of(page)
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 60, steps=4)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert drawn(page, "at_tree_a") != before["at_tree_a"] and drawn(page, "at_tree_b") != before["at_tree_b"]
    assert drawn(page, "at_slice_0") == before["at_slice_0"] and node_of(page) == told


def clicked(page, box):
    """A click beside a tree leaves the node, one on it moves the slices; the angles are those of the last drag."""
    told, seen = node_of(page), drawn(page, "at_slice_0")
    page.mouse.click(box["x"] + 8, box["y"] + 8)
    page.wait_for_timeout(800)  # with the next one it would be a double click, which starts over
    assert node_of(page) == told
    place = next(spot for spot in bright(page, "at_tree_b") if spot)
    page.mouse.click(box["x"] + place[0], box["y"] + place[1])
    until(page, lambda: node_of(page) != told and drawn(page, "at_slice_0") != seen)


def bright(page, name):
    """Places on a tree, away from the ring about the chosen node, as pixels from the corner."""
    image = browsers.pixels(at(page, name)).astype(int)
    ring = np.argwhere((image[..., 1] > 230) & (image[..., 0] < 130)).mean(0)
    tinted = np.argwhere((image[..., 0] > 150) & (image[..., 2] < 140))
    far = tinted[np.linalg.norm(tinted - ring, axis=1) > 60]
    yield from ((int(x) + 4, int(y) + 4) for y, x in far[:: max(1, len(far) // 5)])


@pytest.mark.browser
def test_the_file_turns_and_asks_for_nothing(browser, found, tmp_path):
    pair = [found["neuronqc"], found["rulescore"]]
    text = treereport.write(pair, views.shared(pair)[:2])
    assert text.count("<figure") == 12 and "neuron-0001" in text and "neuron-0002" not in text
    path = tmp_path / "trees.html"
    path.write_text(text, encoding="utf-8")
    with browsers.opened(browser, path.as_uri(), 1300, 900) as page:
        tree = page.locator(".bk-Plot").first
        tree.wait_for()
        page.wait_for_timeout(300)
        before = browsers.pixels(tree).tobytes()
        page.get_by_text("XZ", exact=True).first.click()
        until(page, lambda: browsers.pixels(tree).tobytes() != before)


def test_names_out_of_files_cannot_carry_markup(tmp_path):
    run = dashboard_runs.write_trees(tmp_path, "neuronqc", cases=1)
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('"arm": "neuronqc"', '"arm": "<script>x</script>"'))
    assert "<script>x" not in treereport.write([runs.Run(run.path)], views.shared([run])).replace("\\u003c", "<!")
