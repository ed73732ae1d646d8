"""A trained run on files of one's own: sizes, lightness, pages and names kept, nothing lost or replaced."""

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from conftest import SMALL
from kornia.color import rgb_to_lab
from PIL import Image
from safetensors.torch import load_file, save_file

from workbench import data, method, predict, runs
from workbench.data import asoct, radiograph
from workbench.data.io import swc
from workbench.errors import InvalidImage, InvalidParameter, InvalidRun
from workbench.runs import Run
from workbench.study import Arm, Study

OPTIONS = {"size": 32, "train": 4, "valid": 1, "test": 1}
BUDGET = {"epochs": 1, "batch": 4, "precision": "float32", "valid_every": 0, "channels_last": False, "device": "cpu"}
BASES = {key: SMALL[key] for key in ("base", "blocks", "critic_base", "critic_depth")}
CYCLE = {"base": 4, "blocks": 1, "pool": 4}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Run]:
    """A finished run of four methods, by name."""
    arms = {
        "colortable": Arm("colortable"),
        "smcgan": Arm("smcgan", BASES),
        "cyclegan": Arm("cyclegan", CYCLE),
        "gan": Arm("gan", {"base": 4}),
    }
    study = Study(arms, OPTIONS, BUDGET, root=tmp_path_factory.mktemp("runs")).run()
    return {run.arm: run for run in study.runs}


@pytest.fixture
def copied(trained, tmp_path) -> Run:
    """A run that a test may damage."""
    return Run(shutil.copytree(trained["gan"].path, tmp_path / "runs" / "gan" / "copy"))


def ramp(height: int, width: int) -> np.ndarray:
    """(H, W) in [0, 1], from black at one corner to white at the other, with a fine pattern."""
    y, x = np.mgrid[:height, :width]
    return np.clip((y / height + x / width) / 2 + 0.1 * ((y + x) % 2), 0, 1)


@pytest.fixture
def greys(tmp_path) -> dict[str, np.ndarray]:
    """A folder `in` of grey images of several kinds; by the names of their results what they show."""
    folder = tmp_path / "in"
    (folder / "left").mkdir(parents=True)
    (folder / "right").mkdir()
    shown = {
        "eight.png": ramp(40, 56), "deep.png": ramp(33, 20), "left_same.png": ramp(16, 16),
        "right_same.png": 1 - ramp(16, 18),
        "pages_0000.png": ramp(24, 24), "pages_0001.png": 1 - ramp(24, 24), "pages_0002.png": ramp(30, 24),
    }  # fmt: skip
    Image.fromarray((shown["eight.png"] * 255).round().astype(np.uint8)).save(folder / "eight.png")
    Image.fromarray((shown["deep.png"] * 65535).round().astype(np.uint16)).save(folder / "deep.png")
    for side in ("left", "right"):
        picture = Image.fromarray((shown[f"{side}_same.png"] * 255).round().astype(np.uint8))
        picture.save(folder / side / "same.png")
    pages = [(shown[f"pages_{n:04d}.png"] * 65535).round().astype(np.uint16) for n in range(3)]
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(folder / "pages.tif", save_all=True, append_images=others)
    (folder / "broken.png").write_bytes((folder / "eight.png").read_bytes()[:100])
    (folder / "notes.txt").write_text("no image")
    return shown


def lightness(color: np.ndarray) -> np.ndarray:
    """L, (H, W) in 0..100, of sRGB (H, W, 3) in [0, 1]."""
    return rgb_to_lab(torch.from_numpy(color.astype(np.float32)).movedim(-1, 0)[None])[0, 0].numpy()


@pytest.mark.parametrize("name", ["colortable", "smcgan", "cyclegan"])
def test_a_folder_of_grey_images_becomes_colour_ones_of_equal_size_and_lightness(
    name, trained, greys, tmp_path, capsys
):
    written = predict.apply(trained[name], tmp_path / "in", tmp_path / "out")
    assert {path.name for path in written} == set(greys) == {path.name for path in (tmp_path / "out").iterdir()}
    colored = 0.0
    for path in written:
        picture = Image.open(path)
        assert picture.mode == "RGB" and picture.format == "PNG"
        made, grey = np.asarray(picture) / 255, greys[path.name]
        assert made.shape == (*grey.shape, 3)
        asked = lightness(np.repeat(grey[..., None], 3, axis=2))
        inside = ((made > 0.002) & (made < 0.998)).all(-1)  # what was not clipped into the gamut
        assert inside.mean() > 0.3
        np.testing.assert_allclose(lightness(made)[inside], asked[inside], atol=0.6)  # 8 bits: half a level
        colored += np.ptp(made, axis=-1).mean()
    assert colored > 0.01, "something has a colour"
    out = capsys.readouterr().out
    assert out.count("set aside: broken.png: expected") == 1 and "notes" not in out and "7 files in" in out


def test_one_file_alone(trained, greys, tmp_path):
    (path,) = predict.apply(trained["colortable"], tmp_path / "in" / "eight.png", tmp_path / "out")
    assert path == tmp_path / "out" / "eight.png"


def test_colour_images_are_taken_by_their_luma(trained, tmp_path):
    Image.new("RGB", (20, 20), (200, 40, 90)).save(tmp_path / "colour.png")
    luma = 0.299 * 200 + 0.587 * 40 + 0.114 * 90
    Image.new("L", (20, 20), round(luma)).save(tmp_path / "grey.png")
    made = [
        np.asarray(Image.open(predict.apply(trained["colortable"], tmp_path / name, tmp_path / "out")[0])).astype(int)
        for name in ("colour.png", "grey.png")
    ]
    assert np.abs(made[0] - made[1]).max() <= 2


def test_chroma_is_that_of_the_method(trained):
    """At the size of training nothing is scaled: the method's colours on the input's lightness."""
    model = predict.load(trained["smcgan"])
    grey = ramp(32, 32).astype(np.float32)
    made = torch.from_numpy(predict.enlarged(model, grey, 32)).movedim(-1, 0)[None]
    with torch.inference_mode():
        color = model.predict({"image": torch.from_numpy(grey)[None, None]})["color"]
    inside = ((made > 0) & (made < 1)).all(1)[0]
    assert inside.float().mean() > 0.3
    torch.testing.assert_close(rgb_to_lab(made)[0, 1:, inside], rgb_to_lab(color)[0, 1:, inside], atol=0.05, rtol=0)


def test_weights_are_those_that_were_trained(trained):
    for name, run in trained.items():
        model, kept = predict.load(run), load_file(run.path / "weights.safetensors")
        assert not model.training and type(model) is method.method_class(name)
        state = {key: value for key, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
        assert state.keys() == kept.keys() and all(torch.equal(state[key], kept[key]) for key in kept)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.png", "b.tif"], ["a", "b"]),
        (["a.png", "a.tif", "b.png"], ["a.png", "a.tif", "b"]),
        (["x/a.png", "y/a.png"], ["x_a", "y_a"]),
        (["1.2.840.1", "1.2.840.2"], ["1.2.840.1", "1.2.840.2"]),
        (["slice.01.png", "slice.02.png"], ["slice.01", "slice.02"]),
        (["a.PNG", "deep/er/b.dcm"], ["a", "deep_er_b"]),
    ],
)
def test_results_are_named_after_their_images(names, expected):
    paths = [Path("base", name) for name in names]
    assert list(predict.result_names(paths, Path("base")).values()) == expected


def test_images_whose_results_would_have_one_name_are_refused():
    with pytest.raises(InvalidImage, match=r"x_a.*several; rename one"):
        predict.result_names([Path("base/x/a.png"), Path("base/x_a.png")], Path("base"))


def test_nothing_is_replaced_unless_asked(trained, greys, tmp_path):
    run, source, out = trained["colortable"], tmp_path / "in", tmp_path / "out"
    out.mkdir()
    for there in ("eight.png", "pages_0000.png", "left_same.png"):  # of one page, of several, of a sub-folder
        (out / there).write_bytes(b"mine")
        with pytest.raises(InvalidParameter, match=rf"found {there}; choose another.*--overwrite"):
            predict.apply(run, source, out)
        assert [path.name for path in out.iterdir()] == [there] and (out / there).read_bytes() == b"mine"
        (out / there).unlink()
    (out / "other.png").write_bytes(b"mine")
    assert len(predict.apply(run, source, out)) == 7
    with pytest.raises(InvalidParameter, match="and 4 more"):
        predict.apply(run, source, out)
    (out / "eight.png").write_bytes(b"old")
    assert len(predict.apply(run, source, out, overwrite=True)) == 7
    assert (out / "eight.png").read_bytes() != b"old" and (out / "other.png").read_bytes() == b"mine"
    assert [path for path in out.iterdir() if path.name.startswith(".")] == []


def test_a_target_that_is_no_folder_is_told(trained, greys, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidParameter, match=r"file: expected a folder, found File exists"):
        predict.apply(trained["colortable"], tmp_path / "in", tmp_path / "file")


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\n"])
def test_a_source_without_readable_images_is_refused(content, trained, tmp_path):
    (tmp_path / "in").mkdir()
    if content is not None:
        (tmp_path / "in" / "a.png").write_bytes(content)
    with pytest.raises(InvalidImage):
        predict.apply(trained["colortable"], tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


# ---------------------------------------------------------------- runs that cannot serve


def test_an_unfinished_run_is_refused(copied, greys, tmp_path):
    (copied.path / "done").unlink()
    with pytest.raises(InvalidRun, match="expected a finished run, found unfinished; run it again: it resumes"):
        predict.apply(copied, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_colours_is_refused(trained, greys, tmp_path, monkeypatch):
    cls = method.method_class("smcgan")
    monkeypatch.setattr(cls, "predict", lambda self, batch: {"mask": batch["image"]})
    with pytest.raises(InvalidParameter, match="expected a method that predicts color, found mask"):
        predict.apply(trained["smcgan"], tmp_path / "in", tmp_path / "out")


def test_colours_that_are_no_numbers_are_refused(trained, greys, tmp_path, monkeypatch):
    cls = method.method_class("colortable")
    monkeypatch.setattr(
        cls, "predict", lambda self, batch: {"color": batch["image"].expand(-1, 3, -1, -1) * float("nan")}
    )
    with pytest.raises(InvalidImage, match="finite colours"):
        predict.apply(trained["colortable"], tmp_path / "in", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def changed(weights: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    first = next(iter(weights))
    if how == "more":
        return weights | {"other.weight": torch.zeros(1)}
    if how == "shape":
        return weights | {first: torch.zeros(1, 2, 3)}
    return {
        f"other.{key}" if how == "names" else key: value
        for key, value in weights.items()
        if how != "fewer" or key != first
    }


@pytest.mark.parametrize("how", ["names", "fewer", "more", "shape"])
def test_weights_of_another_method_are_refused(how, copied):
    path = copied.path / "weights.safetensors"
    weights = changed(load_file(path), how)
    path.unlink()
    save_file(weights, path)
    with pytest.raises(InvalidRun, match=r"weights\.safetensors: expected the run's weights, found others"):
        predict.load(copied)


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04N.", b"cut"])
def test_damaged_weights_are_refused(content, copied):
    path = copied.path / "weights.safetensors"
    content = path.read_bytes()[:-10] if content == b"cut" else content
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidRun, match=r"weights\.safetensors"):
        predict.load(copied)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"method": "gann"}, InvalidParameter, "did you mean gan"),
        ({"config": {"bass": 4}}, InvalidParameter, "did you mean base"),
        ({"config": {"base": -4}}, InvalidParameter, "of at least 1"),
        ({"config": {"base": 8}}, InvalidRun, "expected the run's weights"),
    ],
)
def test_a_config_of_another_version_is_told(change, error, match, copied):
    runs.write_json(copied.path / "config.json", copied.config | change)
    with pytest.raises(error, match=match):
        predict.load(Run(copied.path))


# ---------------------------------------------------------------- masks


@pytest.fixture(scope="module")
def segmentor(tmp_path_factory) -> Run:
    options = {"size": 32, "train": 4, "valid": 1, "test": 1}
    return Study({"unet": Arm("unet")}, options, BUDGET, root=tmp_path_factory.mktemp("runs")).run().runs[0]


def test_masks_keep_the_size_and_hold_label_values_under_a_palette(segmentor, tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    dark = np.zeros((48, 24), np.uint8)
    dark[10:20, 3:9] = 255
    Image.fromarray(dark).save(folder / "grey.png")
    Image.fromarray(np.repeat(dark[..., None], 3, 2)).save(folder / "color.png")
    cls = method.method_class("unet")
    monkeypatch.setattr(cls, "predict", lambda self, batch: {"mask": (batch["image"] > 0.5).float()})
    written = predict.apply(segmentor, folder, tmp_path / "out")
    assert sorted(path.name for path in written) == ["color.png", "grey.png"]
    for path in written:
        picture = Image.open(path)
        found = np.asarray(picture)
        assert picture.mode == "P" and picture.size == (24, 48) and set(np.unique(found)) == {0, 1}
        assert (found == (dark > 0)).mean() > 0.95
        assert picture.convert("RGB").getpixel((5, 15)) == (230, 159, 0)


def test_a_run_that_needs_more_than_a_picture_is_refused(segmentor, tmp_path):
    copy = Run(shutil.copytree(segmentor.path, tmp_path / "runs" / "unet" / "copy"))
    config = copy.config | {"data": copy.config["data"] | {"kind": "anatomy3d"}}
    runs.write_json(copy.path / "config.json", config)
    with pytest.raises(InvalidParameter, match=r"expected a method for anatomy, fundus.*, found .*anatomy3d"):
        predict.apply(Run(copy.path), tmp_path / "in", tmp_path / "out")


# ---------------------------------------------------------------- tables and alerts


def tiny(name: str, root, options: dict, own: dict | None = None) -> Run:
    return Study({name: Arm(name, own or {})}, options, BUDGET, root=root).run().runs[0]


def test_scans_become_the_challenges_tables(tmp_path):
    run = tiny("ascoct", tmp_path / "runs", {"size": 32, "train": 4, "valid": 4, "test": 4})
    (tmp_path / "in").mkdir()
    scan = (np.random.default_rng(0).random((64, 140)) * 255).astype(np.uint8)
    for name in ("T0001-01.jpg", "T0002-01.jpg"):
        Image.fromarray(scan).save(tmp_path / "in" / name)
    Image.fromarray(scan[:, :64]).save(tmp_path / "in" / "narrow.jpg")
    written = predict.apply(run, tmp_path / "in", tmp_path / "out")
    angles, spurs = (list(csv.DictReader(path.open())) for path in written)
    assert [path.name for path in written] == ["Classification_Results.csv", "Localization_Results.csv"]
    assert [row["ASOCT_NAME"] for row in angles] == ["T0001-01.jpg", "T0002-01.jpg"]
    model = predict.load(run)
    halves = asoct.unlabelled(tmp_path / "in", 32).halves.__getitems__([0, 1])
    with torch.no_grad():
        found = model.predict(halves)
    assert float(spurs[0]["X_LEFT"]) == pytest.approx(float(found["point"][0, 0]), abs=0.01)
    assert float(spurs[0]["X_RIGHT"]) == pytest.approx(139 - float(found["point"][1, 0]), abs=0.01)
    assert (float(angles[0]["LEFT_ANGLE_RESULTS"]) >= 0) == bool(found["score"][0] >= model.threshold)
    with pytest.raises(InvalidParameter, match="overwrite"):
        predict.apply(run, tmp_path / "in", tmp_path / "out")


def radiographs(folder: Path) -> list[Path]:
    """Grey images of several kinds and sides, two of one name, and one that is damaged."""
    rng, paths = np.random.default_rng(1), [folder / name for name in ("a/x.png", "b/x.png", "c.jpg", "deep.png")]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        sides, kind = (40 + 3 * number, 56), np.uint16 if path.stem == "deep" else np.uint8
        Image.fromarray(rng.integers(0, np.iinfo(kind).max, sides).astype(kind)).save(path)
    (folder / "broken.png").write_bytes(paths[0].read_bytes()[:80])
    return paths


FINDINGS = {"source": "materials", "size": 32, "train": 8, "valid": 4, "test": 4}
COLOR = {"start": "scratch", "width": 4, "blocks": 1, "base": 2}


@pytest.mark.parametrize("name", ["deepcolor", "gradhist"])
def test_radiographs_become_a_table_of_findings_and_the_colours_that_were_learnt(name, tmp_path, capsys):
    run = tiny(name, tmp_path / "runs", FINDINGS, COLOR if name == "deepcolor" else None)
    paths = radiographs(tmp_path / "in")
    table, *pictures = predict.apply(run, tmp_path / "in", tmp_path / "out")
    rows = list(csv.DictReader(table.open()))
    names = ["a_x", "b_x", "c", "deep"]
    assert table.name == "probabilities.csv" and list(rows[0]) == ["image", "mineral", "fluid", "fibre"]
    assert [row["image"] for row in rows] == names
    model = predict.load(run)
    batch = {"image": torch.stack([radiograph.unseen(path, 32)[0] for path in paths])}
    with torch.no_grad():
        made = model.predict(batch)
    found = torch.tensor([[float(row[key]) for key in ("mineral", "fluid", "fibre")] for row in rows])
    torch.testing.assert_close(found, made["score"], atol=1e-5, rtol=0)
    assert capsys.readouterr().out.count("set aside: broken.png: expected") == 1
    assert [path.name for path in pictures] == ([f"{one}.png" for one in names] if name == "deepcolor" else [])
    for number, path in enumerate(pictures):
        picture = Image.open(path)
        assert picture.mode == "RGB" and picture.size == (56, 40 + 3 * number)
        small = np.asarray(picture.resize((32, 32), Image.Resampling.BOX)) / 255
        assert np.abs(small - made["color"][number].movedim(0, -1).numpy()).mean() < 0.05
    with pytest.raises(InvalidParameter, match="overwrite"):
        predict.apply(run, tmp_path / "in", tmp_path / "out")


def test_a_radiograph_is_seen_as_the_data_show_it(tmp_path):
    """One file alone; and a backbone that learnt natural images takes a grey one too."""
    image = data.open_data("radiograph", **FINDINGS).test.__getitems__([0])["image"][0]
    Image.fromarray((image[0] * 255).round().byte().numpy()).save(tmp_path / "one.png")
    assert torch.equal(radiograph.unseen(tmp_path / "one.png", 32)[0], image)
    run = tiny("deepcolor", tmp_path / "runs", FINDINGS | {"source": "natural"}, COLOR | {"colorizer": "repeat"})
    table, _ = predict.apply(run, tmp_path / "one.png", tmp_path / "out")
    assert len(list(csv.DictReader(table.open()))) == 1


def test_a_run_without_a_classifier_makes_no_tables(tmp_path):
    run = tiny("coordinates", tmp_path / "runs", {"size": 32, "train": 4, "valid": 4, "test": 4})
    (tmp_path / "in").mkdir()
    Image.new("L", (140, 64), 9).save(tmp_path / "in" / "a.jpg")
    with pytest.raises(InvalidParameter, match="a method that predicts score"):
        predict.apply(run, tmp_path / "in", tmp_path / "out")


def test_traces_come_back_with_their_alerts(tmp_path):
    run = tiny("neuronqc", tmp_path / "runs", {"size": 32, "train": 2, "valid": 1, "test": 1, "events": 1})
    for name in ("images", "traces"):
        (tmp_path / "in" / name).mkdir(parents=True)
    stack = np.random.default_rng(0).integers(0, 60, (20, 40, 40), np.uint8)
    stack[10, 20, 4:36] = 250
    lines = [f"{n} 3 {x} 20 10 1 {n - 1 or -1}" for n, x in enumerate(range(4, 36, 4), 1)]
    for name in ("one", "two"):
        tifffile.imwrite(tmp_path / "in/images" / f"{name}.tif", stack)
        (tmp_path / "in/traces" / f"{name}.swc").write_text("\n".join(lines))
    (tmp_path / "in/traces/two.swc").write_text("1 3 4 20 10 1 9\n")
    written = predict.apply(run, tmp_path / "in", tmp_path / "out")
    assert [path.name for path in written] == ["one.swc", "one.csv"] and all(path.is_file() for path in written)
    tree, alert = swc.read_alerts(written[0])
    np.testing.assert_allclose(tree.points[:, 0], range(4, 36, 4))
    scores, _ = swc.read_alert_table(written[1], tree)
    assert np.isfinite(scores[alert]).all() and not (tmp_path / "out/two.swc").exists()


BRAIN = {"size": 32, "train": 4, "segmentation": 4, "valid": 1, "test": 1}


def stored(path, array, affine) -> None:
    nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), affine), path)


def test_t2_volumes_become_three_modalities_and_a_tumour_on_their_own_voxels(tmp_path, monkeypatch):
    """A method that hands back its T2 as FLAIR and finds a tumour where it is bright returns the volume it was given,
    whatever its orientation and voxel size."""
    run = tiny("tcmgan", tmp_path / "runs", BRAIN)
    folder = tmp_path / "in" / "case"
    folder.mkdir(parents=True)
    volume = np.zeros((40, 50, 6))
    volume[8:30, 10:44, 1:5] = 40
    volume[12:20, 30:40, 2:4] = 100
    affine = np.array([[0, -1.5, 0, 9], [1, 0, 0, -4], [0, 0, 5, 2], [0, 0, 0, 1.0]])
    stored(folder / "case_t2.nii.gz", volume, affine)
    stored(folder / "case_flair.nii.gz", volume, affine)
    cls = method.method_class("tcmgan")
    bright = lambda batch: {"color": batch["image"].expand(-1, 3, -1, -1), "mask": (batch["image"] > 0.7).float()}  # noqa: E731
    monkeypatch.setattr(cls, "predict", lambda self, batch: bright(batch))
    written = predict.apply(run, tmp_path / "in", tmp_path / "out")
    names = [f"case_case_t2_{kind}.nii.gz" for kind in ("flair", "t1ce", "t1", "tumour")]
    assert [path.name for path in written] == names
    flair, tumour = (nibabel.as_closest_canonical(nibabel.load(written[n])) for n in (0, 3))
    given = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, affine))
    np.testing.assert_allclose(flair.affine, given.affine)
    assert flair.shape == given.shape
    wanted, found = given.get_fdata() / 100, flair.get_fdata()
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.95 and not found[:, :, [0, 5]].any()
    mask, real = tumour.get_fdata() > 0, wanted > 0.8
    assert 2 * (mask & real).sum() / (mask.sum() + real.sum()) > 0.85


def test_modalities_are_made_and_a_bound_that_makes_none_is_refused(tmp_path):
    stored(tmp_path / "one.nii.gz", np.random.default_rng(0).random((20, 24, 3)) * 100, np.eye(4))
    written = predict.apply(tiny("tcmgan", tmp_path / "runs", BRAIN), tmp_path / "one.nii.gz", tmp_path / "out")
    made = nibabel.load(written[0]).get_fdata()
    assert made.shape == (20, 24, 3) and made.min() >= 0 and made.max() <= 1 and made.std() > 0
    bounds = {"predicts color": {}, "no more than image.*target": {"inputs": "four"}}
    for match, own in bounds.items():
        run = tiny("acquired", tmp_path / "runs", BRAIN, own)
        with pytest.raises(InvalidParameter, match=match):
            predict.apply(run, tmp_path / "one.nii.gz", tmp_path / "other", overwrite=True)


VIDEOS = {"size": 32, "frames": 3, "train": 2, "valid": 1, "test": 1}


def test_videos_are_translated_frame_by_frame_at_their_own_size(tmp_path):
    run = tiny("videogan", tmp_path / "runs", VIDEOS, {"base": 4, "blocks": 1})
    rng = np.random.default_rng(0)
    for name, count in (("one", 4), ("short", 1)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for n in range(count):
            Image.fromarray(rng.integers(0, 255, (48, 60, 3), np.uint8)).save(tmp_path / "in" / name / f"{n:03d}.png")
    written = predict.apply(run, tmp_path / "in", tmp_path / "out")
    ends = [f"{n:05d}{end}.png" for n in range(4) for end in ("", "_mask")]
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == [f"one/{end}" for end in ends]
    given, made = (np.asarray(Image.open(path)) for path in (tmp_path / "in/one/000.png", written[0]))
    assert made.shape == (48, 60, 3) and np.abs(made.astype(int) - given).mean() > 0
    assert np.corrcoef(made.ravel(), given.ravel())[0, 1] > 0.9, "the frame keeps its detail"
    assert Image.open(written[1]).mode == "P" and np.asarray(Image.open(written[1])).shape == (48, 60)


def test_an_unchanged_video_comes_back_exactly(tmp_path):
    run = tiny("direct", tmp_path / "runs", VIDEOS)
    frames = np.random.default_rng(0).integers(0, 255, (2, 40, 40, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for n, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "in" / f"{n}.png")
    written = predict.apply(run, tmp_path / "in", tmp_path / "out")
    assert all(np.array_equal(np.asarray(Image.open(path)), frame) for path, frame in zip(written[::2], frames))
    with pytest.raises(InvalidParameter, match="overwrite"):
        predict.apply(run, tmp_path / "in", tmp_path / "out")
    (tmp_path / "scan.nii").touch()
    with pytest.raises(InvalidImage, match=r"scan.nii: expected a video file .*found a file of the kind .nii"):
        predict.apply(run, tmp_path / "scan.nii", tmp_path / "new")
    with pytest.raises(InvalidParameter, match=r"no more than image, length.*tone"):
        predict.apply(tiny("reinhard", tmp_path / "runs", VIDEOS), tmp_path / "in", tmp_path / "new")


def test_settings_of_the_data_are_checked(trained, greys, tmp_path):
    with pytest.raises(InvalidParameter, match="spacings"):
        predict.apply(trained["gan"], tmp_path / "in", tmp_path / "out", settings={"spacings": 1})
    (path,) = predict.apply(trained["gan"], tmp_path / "in/eight.png", tmp_path / "out", settings={"size": 32})
    assert Image.open(path).size == (56, 40)
