"""Videos: clips, their changes of colour and contours against numbers by hand, the page without and in a browser."""

import shutil

import browsers
import conftest
import dashboard_runs
import numpy as np
import pandas as pd
import panel as pn
import pytest
from browsers import at, until

from workbench import dashboard, evaluate, runs, views
from workbench.dashboard.pages import video as page_of_videos
from workbench.errors import InvalidParameter, InvalidRun
from workbench.views import videoreport, videos
from workbench.views.player import Player

ARMS = ("videogan", "reinhard", "direct")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for arm in ARMS:
        dashboard_runs.write_videos(root, arm)
    return root


@pytest.fixture
def found(root):
    return {run.arm: run for run in runs.find(root)}


CASE, SHORT, UNLABELLED = (("clip-0", ""), ("clip-1", ""), ("clip-3", ""))


# ---------------------------------------------------------------- views


def test_a_clip_is_read_without_what_fills_it_up(found):
    run = found["videogan"]
    clip, short = videos.read(run, CASE), videos.read(run, SHORT)
    assert clip["image"].shape == clip["color"].shape == (6, 24, 24, 3) and clip["mask"].shape == (6, 24, 24)
    assert {len(array) for array in short.values()} == {4}
    np.testing.assert_array_equal(short["color"], run.samples.array("color")[1, :4])
    with pytest.raises(InvalidParameter, match="did you mean clip-0"):
        videos.read(run, ("clip-00", ""))


def test_without_lengths_every_frame_counts(tmp_path):
    run = dashboard_runs.write_videos(tmp_path, "videogan")
    index = runs.read_json(run.samples.path / "index.json")
    runs.write_json(run.samples.path / "index.json", index | {"arrays": [n for n in index["arrays"] if n != "length"]})
    assert len(videos.read(runs.Run(run.path), SHORT)["image"]) == 6


def test_the_truth_of_an_unlabelled_clip_is_unknown_and_not_empty(found):
    assert videos.read(found["direct"], UNLABELLED)["label"] is None
    assert videos.read(found["direct"], CASE)["label"].any()
    assert videos.outlines(None, [1]) == []


def test_the_change_of_colours_is_that_of_the_means():
    image = np.full((3, 2, 2, 3), 100, np.uint8)
    color = image.copy()
    color[1, ..., 0] += 51
    color[2, 0, 0, 2] -= 51
    changes = videos.change(color, image)
    assert changes == pytest.approx(np.array([[0, 0, 0], [0.2, 0, 0], [0, 0, -0.05]]))
    by_hand = (np.std([0, 0.2, 0]) + 0 + np.std([0, 0, -0.05])) / 3
    assert videos.flicker(changes) == pytest.approx(by_hand)
    curves = videos.curves(changes)
    assert curves["mean"] == pytest.approx([0, 0.2 / 3, -0.05 / 3]) and curves["red"] == pytest.approx([0, 0.2, 0])
    assert curves["steady_red"] == pytest.approx([-0.2 / 3, 0.4 / 3, -0.2 / 3])
    assert set(curves) == {*videos.CHANNELS, *(videos.STEADY + name for name in videos.CHANNELS)}


def test_what_always_changes_alike_does_not_flicker():
    image = np.random.default_rng(0).integers(0, 200, (4, 5, 6, 3)).astype(np.uint8)
    assert videos.flicker(videos.change(image + np.array([10, 0, 50], np.uint8), image)) == pytest.approx(0)


def test_the_flicker_seen_is_that_of_the_table(found):
    for run in found.values():
        for case in (CASE, SHORT):
            clip = videos.read(run, case)
            seen = videos.flicker(videos.change(clip["color"], clip["image"]))
            assert seen == pytest.approx(views.scores(run).loc[[case], "flicker"].item())


def test_the_flicker_of_a_method_is_that_of_the_view():
    source = conftest.small_data("endoscopy")
    table, arrays = evaluate.assess(conftest.small_method("reinhard"), source)
    assert set(videos.NEEDS) | {videos.LENGTH, "spacing"} == set(arrays)
    assert {name: arrays[name].ndim for name in videos.NEEDS} == videos.NEEDS
    for number, length in enumerate(arrays["length"].astype(int)):
        clip = {name: arrays[name][number, :length] for name in ("color", "image")}
        seen = videos.flicker(videos.change(**clip))
        assert seen == pytest.approx(table["flicker"][number], abs=2e-3), "but for the rounding of what is kept"


def test_outlines_are_those_of_every_class_in_every_frame():
    label = np.zeros((2, 6, 6), np.uint8)
    label[0, 1:3, 2:5] = 1
    label[1, 4, 4] = 2
    (box,), (dot,) = videos.outlines(label, [1, 2])
    assert (box.min(0).tolist(), box.max(0).tolist()) == ([2, 1], [5, 3])
    assert dot.mean(0) == pytest.approx((4.5, 4.5), abs=0.2)


# ---------------------------------------------------------------- which runs can be shown


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("length", np.full(4, 7, np.float32)), ("length", np.zeros(4, np.float32)),
        ("length", np.ones((4, 2), np.float32)), ("image", np.zeros((3, 6, 24, 24, 3), np.uint8)),
        ("mask", np.zeros((4, 5, 24, 24), np.uint8)), ("color", np.zeros((4, 6, 24, 24, 2), np.uint8)),
        ("color", np.zeros((4, 6, 24, 24, 3), np.float32)), ("spacing", np.zeros((4, 3), np.float32)),
    ],
)  # fmt: skip
def test_arrays_that_do_not_belong_together_are_set_aside(tmp_path, name, array):
    run = dashboard_runs.write_videos(tmp_path, "videogan")
    np.save(run.path / "samples" / f"{name}.npy", array)
    survey = views.survey([run], videos.NEEDS, videos.check, views.moving)
    assert survey.runs == [] and "broken" in survey.aside[0][1]
    drawn = dashboard.video([run])
    assert "No finished runs" in text_of(drawn) and "videogan" in text_of(drawn)


def text_of(drawn):
    return " ".join(pane.object for pane in drawn.select(pn.pane.HTML))


def test_videos_are_left_to_their_own_page(root, found, tmp_path):
    shutil.copytree(root, tmp_path / "runs")
    dashboard_runs.write_masks(tmp_path / "runs", "unet", cases=2, size=24)
    dashboard_runs.write(tmp_path / "runs", "smcgan", cases=2, size=24)
    every = {run.arm: run for run in runs.find(tmp_path / "runs")}
    pages = {page.name: page for page in dashboard.select(None)}
    concerned = {name: {arm for arm, run in every.items() if page.concerns(run)} for name, page in pages.items()}
    assert concerned["video"] == set(ARMS)
    assert concerned["masks"] == {"unet"} and concerned["colorizations"] == {"smcgan"}
    assert concerned["modalities"] == set()
    for name in ("masks", "colorizations", "modalities"):
        assert "not shown" not in text_of(pages[name](found.values())), "another kind of samples is no broken run"
    assert "not shown" not in text_of(pages["video"](every.values()))
    assert "Videos" in dashboard.app(tmp_path / "runs")[1]._names


# ---------------------------------------------------------------- the page


def opened(found, *arms):
    return page_of_videos.Comparison([found[arm] for arm in arms or ARMS])


def test_it_begins_with_two_arms_and_the_worst_case(found):
    page = opened(found)
    assert page.a.value.arm != page.b.value.arm
    scores = views.scores(page.a.value)["dice"]
    assert page.cases.case == scores.idxmin()


def test_a_case_is_sent_whole(found):
    page = opened(found, "reinhard", "direct")
    page.a.value, page.b.value = found["reinhard"], found["direct"]
    page.cases.case = CASE
    clip, sent = videos.read(found["reinhard"], CASE), page.player.frames.data
    assert list(sent["frame"]) == [1, 2, 3, 4, 5, 6]
    for number, frame in enumerate(sent["A"]):
        red = frame & 255
        np.testing.assert_array_equal(red, clip["color"][number, ..., 0])
    lines = page.player.outlines["truth"].data
    assert set(lines["frame"]) == set(range(1, 7)) and len(lines["xs"]) == len(lines["frame"])
    third = next(place for place, number in enumerate(lines["frame"]) if number == 3)
    y, x = np.nonzero(clip["label"][2])
    assert (min(lines["xs"][third]), max(lines["xs"][third])) == (x.min(), x.max() + 1)
    assert (min(lines["ys"][third]), max(lines["ys"][third])) == (24 - y.max() - 1, 24 - y.min())
    curve = page.player.curves["A"].data
    expected = clip["color"].mean((1, 2, 3)) / 255 - clip["image"].mean((1, 2, 3)) / 255
    assert curve["mean"] == pytest.approx(expected)


def test_a_shorter_clip_has_fewer_frames_and_an_unlabelled_one_no_truth(found):
    page = opened(found)
    page.cases.case = SHORT
    assert len(page.player.frames.data["A"]) == page.player.slider.end == 4
    assert page.player.curve.x_range.end == 4.5 and "4 frames" in page.board.texts["note_original"]
    page.cases.case = UNLABELLED
    assert len(page.player.outlines["truth"].data["xs"]) == 0 and "truth unknown" in page.board.texts["note_original"]
    assert len(page.player.outlines["A"].data["xs"]) > 0


def test_keys_n_and_p_step_through_the_cases_too(found):
    page = opened(found)
    assert {key: page.cases.keys.steps[key] for key in ("n", "p", "ArrowRight", "ArrowLeft")} == {
        "n": 1, "p": -1, "ArrowRight": 1, "ArrowLeft": -1,
    }  # fmt: skip
    before = page.cases.case
    page.cases.keys.moves += 1
    assert page.cases.case != before and page.board.texts["place"].startswith(f"<b>{page.cases.case[0]}")


def test_numbers_of_the_case_are_told(found):
    page = opened(found)
    page.cases.case = CASE
    told = page.board.texts["numbers"]
    for name in ("Dice", "Wasserstein", "Flicker", "Motion error", "Edge correlation"):
        assert name in told
    assert f"{views.scores(page.a.value).loc[[CASE], 'flicker'].item():.4f}" in told


def test_runs_on_other_cases_are_compared_on_those_they_share(found, tmp_path):
    fewer = dashboard_runs.write_videos(tmp_path, "videogan", seed=1, cases=3)
    page = page_of_videos.Comparison([fewer, found["direct"]])
    assert len(page.cases.shared) == 3 and "the 3 that both share" in page.board.texts["message"]


def test_runs_on_clips_of_another_size_are_chosen_apart(found, tmp_path):
    large = dashboard_runs.write_videos(tmp_path, "videogan", size=32)
    drawn = dashboard.video([found["direct"], large])
    choice = next(w for w in drawn.select(pn.widgets.Select) if any("32" in str(option) for option in w.options))
    assert len(choice.options) == 2
    choice.value = list(choice.options.values())[1]
    with pytest.raises(InvalidRun, match="label maps of one size"):
        videoreport.picture([found["direct"], large], CASE)


def test_unlike_originals_under_one_name_are_told(found, tmp_path):
    other = dashboard_runs.write_videos(tmp_path, "videogan", seed=1)
    image = np.array(other.samples.array("image"))
    np.save(other.samples.path / "image.npy", image + np.uint8(1))
    page = page_of_videos.Comparison([other, found["direct"]])
    page.cases.case = CASE
    assert "unlike originals" in page.board.texts["message"] and "unlike truths" not in page.board.texts["message"]
    fresh = opened(found)
    assert fresh.board.texts["message"] == ""


def test_an_array_that_vanishes_while_the_page_is_open_is_told(tmp_path):
    run = dashboard_runs.write_videos(tmp_path, "videogan")
    page = page_of_videos.Comparison([run])
    (run.path / "samples" / "color.npy").unlink()
    page.cases.step(1)
    assert "color.npy" in page.board.texts["message"]


def test_a_player_needs_no_server(found):
    """Whatever plays, steps or hides is done by the browser: no callback of Python hangs on any model."""
    made = videoreport.player("AB")
    assert isinstance(made, Player)
    models = {model for plot in made.plots.values() for model in plot.references()} | made.curve.references()
    for model in models | {made.slider, made.play, made.pace, made.outlined, made.steady, made.channel}:
        assert not model._callbacks and not model._event_callbacks


# ---------------------------------------------------------------- one file


def test_names_out_of_files_cannot_carry_markup(tmp_path):
    run = dashboard_runs.write_videos(tmp_path, "videogan")
    path = run.path / "config.json"
    path.write_text(path.read_text().replace('"arm": "videogan"', '"arm": "<script>x</script>"'))
    assert "<script>x" not in videoreport.write([runs.Run(run.path)], views.shared([run])).replace("\\u003c", "<!")


def test_the_file_has_the_means_over_all_shared_cases(found):
    pair = [found["videogan"], found["direct"]]
    text = videoreport.write(pair, views.shared(pair)[:2])
    mean = pd.concat([views.scores(pair[0])]).mean()["flicker"]
    assert "2 of 4 cases" in text and f"{mean:.4f}" in text and "clip-1" in text and "clip-2</h2>" not in text


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


def corner(locator):
    """The colour in the upper left corner of a picture, which tells its frame."""
    return tuple(browsers.pixels(locator, margin=6)[0, 0].tolist())


def frame_of(locator):
    return (corner(locator)[0] - 40) / 10


@pytest.mark.browser
def test_the_file_plays_and_asks_for_nothing(browser, found, tmp_path):
    pair = [found["videogan"], found["direct"]]
    path = tmp_path / "videos.html"
    path.write_text(videoreport.write(pair, [CASE]), encoding="utf-8")
    with browsers.opened(browser, path.as_uri(), 1300, 900) as page:
        original = page.locator(".bk-Plot").first
        original.wait_for()
        page.wait_for_timeout(300)
        before = browsers.pixels(original).tobytes()
        page.get_by_text("▶ Play", exact=True).click()
        until(page, lambda: browsers.pixels(original).tobytes() != before)
        page.get_by_text("Pause").click()
        page.get_by_text("▶ Play", exact=True).wait_for()


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def url(root, tmp_path_factory):
    with browsers.serving(root, tmp_path_factory.mktemp("log")) as url:
        yield url


@pytest.fixture
def page(browser, url):
    with browsers.opened(browser, url, 1400, 900) as page:
        until(page, lambda: at(page, "place").count() and "of" in at(page, "place").inner_text())
        page.locator(".tabulator-row").first.wait_for()
        until(page, lambda: at(page, "at_original").locator("canvas").count() > 0)
        page.wait_for_timeout(500)
        yield page


COUNT = """() => {
  window.sent = 0
  const send = WebSocket.prototype.send
  WebSocket.prototype.send = function (...all) { window.sent += 1; return send.apply(this, all) }
}"""


def told(page):
    return at(page, "place").inner_text()


def slid(page, key):
    at(page, "at_slider").locator(".noUi-handle").focus()
    page.keyboard.press(key)


@pytest.mark.browser
def test_the_slider_moves_all_pictures_and_the_line(page):
    names = ("at_original", "at_color_a", "at_color_b", "at_curve")
    assert frame_of(at(page, "at_original")) == 0
    before = {name: browsers.pixels(at(page, name)).tobytes() for name in names}
    slid(page, "ArrowRight")
    until(page, lambda: frame_of(at(page, "at_original")) == 1)
    assert page.locator(".bk-slider-title").inner_text() == "Frame: 2" and "1 of 4" in told(page)
    for name in names:
        until(page, lambda name=name: browsers.pixels(at(page, name)).tobytes() != before[name])
    slid(page, "ArrowLeft")
    for name in names[:3]:
        until(page, lambda name=name: browsers.pixels(at(page, name)).tobytes() == before[name])


@pytest.mark.browser
def test_play_goes_on_by_itself_until_it_is_paused(page):
    page.get_by_text("▶ Play", exact=True).click()
    page.wait_for_timeout(300)
    page.evaluate(COUNT)
    seen = set()

    def all_seen():
        seen.add(frame_of(at(page, "at_original")))
        return len(seen) >= 4

    until(page, all_seen)
    assert page.evaluate("window.sent") == 0, "no server is asked for a frame, nor told of one"
    page.get_by_text("Pause").click()
    page.get_by_text("▶ Play", exact=True).wait_for()
    page.wait_for_timeout(300)
    still = corner(at(page, "at_original"))
    page.wait_for_timeout(900)
    assert corner(at(page, "at_original")) == still


@pytest.mark.browser
def test_keys_change_the_case_keep_the_frame_and_nothing_jumps(page):
    names = ("at_original", "at_color_a", "at_color_b", "at_curve", "numbers", "at_slider", "at_play")
    slid(page, "End")
    until(page, lambda: frame_of(at(page, "at_original")) >= 3)
    where, shown = {name: at(page, name).bounding_box() for name in names}, frame_of(at(page, "at_original"))
    page.mouse.click(500, 880)  # away from the slider, whose own keys the arrows are
    cases = {told(page).split()[0]}
    for key in ("n", "ArrowRight", "p", "ArrowRight", "n"):
        before = told(page)
        page.keyboard.press(key)
        until(page, lambda before=before: told(page) != before)
        cases.add(told(page).split()[0])
        page.wait_for_timeout(200)
        assert frame_of(at(page, "at_original")) in (shown, 3), "or the last one of the shorter clip"
        assert {name: at(page, name).bounding_box() for name in names} == where
    assert len(cases) == 4


@pytest.mark.browser
def test_contours_are_switched_off_one_by_one(page):
    def drawn():
        return [browsers.pixels(at(page, name)).tobytes() for name in ("at_original", "at_color_a", "at_color_b")]

    before = drawn()
    switch = at(page, "at_outlined").locator("button")
    switch.nth(1).click()
    until(page, lambda: drawn()[1] != before[1] and drawn()[0] != before[0])
    assert drawn()[2] == before[2], "the other run's stay"
    switch.nth(1).click()
    until(page, lambda: drawn() == before)


@pytest.mark.browser
def test_nothing_is_clipped_on_a_narrow_page(browser, url):
    with browsers.opened(browser, url, 880, 900) as page:
        until(page, lambda: at(page, "place").count() and "of" in at(page, "place").inner_text())
        page.wait_for_timeout(800)
        clipped = "(all) => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
        assert page.locator(".note, .head, .place").evaluate_all(clipped) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
