"""Colour anatomy: phantoms whose greys tell nothing, samples that never overlap, and folders of every make."""

import functools
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab

from workbench import data
from workbench.data import anatomy
from workbench.data.anatomy import Options, folders, phantoms, pictures, slices
from workbench.data.anatomy.folders import Entry
from workbench.data.anatomy.slices import LUMA
from workbench.errors import InvalidImage, InvalidParameter

SMALL = Options(size=32, train=6, valid=2, test=3)
SPLITS = ("train", "valid", "test")
REAL = Path(os.environ.get("WORKBENCH_DATA", "missing"))


@functools.cache
def phantom(**changes):
    return anatomy.phantom(Options(**{**vars(SMALL), **changes}))


@functools.cache
def samples():
    return anatomy.samples(Options(size=32, train=20, valid=8, test=8))


def planes(part, key):
    """(N, H, W, C) as stored."""
    return part.tensors[key].permute(0, 2, 3, 1).numpy()


def box(shape, edge):
    """(H, W) bool: a rectangle `edge` pixels from the border, its corners rounded by one pixel."""
    inside = np.zeros(shape, bool)
    inside[edge:-edge, edge:-edge] = True
    return ndimage.binary_opening(inside)


def known(root):
    """The files of a folder in order, without those set aside."""
    return folders.entries(root)[0]


def mixed(cases, index=slice(None)):
    return planes(cases, "target")[index], planes(cases, "foreground")[index, ..., 0] > 0


# ---------------------------------------------------------------- phantom: organs


@pytest.mark.parametrize("pair", range(3))
def test_a_pair_is_equal_in_grey_and_far_apart_in_colour(pair):
    one, other = (np.clip(phantoms.paint(np.random.default_rng(k), 128, 2 * pair + k), 0, 1) for k in range(2))
    assert abs((one @ LUMA).mean() - (other @ LUMA).mean()) < 0.004
    assert abs((one @ LUMA).std() - (other @ LUMA).std()) < 0.004
    labs = [rgb2lab(image.mean((0, 1))[None, None])[0, 0] for image in (one, other)]
    assert np.linalg.norm(labs[0] - labs[1]) > 25


@pytest.mark.parametrize("kind", range(phantoms.CLASSES))
def test_colour_of_an_organ_has_no_luma_of_its_own(kind, monkeypatch):
    for texture in ("stripes", "speckle"):
        monkeypatch.setattr(phantoms, texture, lambda rng, size: np.zeros((size, size)))
    image = phantoms.paint(np.random.default_rng(0), 16, kind)
    luma = phantoms.MUSCLE[0] if kind == phantoms.CLASSES - 1 else phantoms.PAIRS[kind // 2][0]
    noise = 0.015 * np.random.default_rng(0).standard_normal((16, 16))
    np.testing.assert_allclose(image @ LUMA, luma + noise, atol=1e-12)
    offset = image - (image @ LUMA)[..., None]
    assert np.ptp(offset.reshape(-1, 3), axis=0).max() < 1e-12, "noise lies along grey"
    assert np.abs(offset[0, 0]).max() > 0.05


@pytest.mark.parametrize("pair", range(3))
def test_no_table_of_greys_tells_a_pair_apart(pair):
    images = [np.clip(phantoms.paint(np.random.default_rng(5 + k), 96, 2 * pair + k), 0, 1) for k in range(2)]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    levels = np.round(pixels @ LUMA * 255).astype(int)
    counts = np.bincount(levels, minlength=256)
    table = np.stack([np.bincount(levels, pixels[:, c], 256) for c in range(3)], 1) / np.maximum(counts, 1)[:, None]
    error = np.abs(table[levels] - pixels).mean()  # of the best table there is, fitted on these very pixels
    means = [image.mean((0, 1)) for image in images]
    known = np.mean([np.abs(image - mean) for image, mean in zip(images, means, strict=True)])
    apart = np.abs(means[0] - means[1]).mean() / 2
    assert error > 0.85 * apart and error > 2 * known


def test_organs_told_apart_by_side_keep_to_it():
    (pair,) = (n for n, (*_, cue) in enumerate(phantoms.PAIRS) if cue == "side")
    own = []
    for seed in range(60):
        for kind, left in ((2 * pair, True), (2 * pair + 1, False)):
            columns = np.nonzero(phantoms.organ(np.random.default_rng(seed), 64, kind))[1] / 64
            assert (columns.mean() < 0.5) == left
            own.append((columns < 0.5).mean() if left else (columns >= 0.5).mean())
    assert np.mean(own) > 0.97 and min(own) > 0.75


def test_textures_differ_where_their_means_do_not():
    rng = np.random.default_rng(0)
    stripes, speckle = phantoms.stripes(rng, 64), phantoms.speckle(rng, 64)
    for texture in (stripes, speckle):
        assert abs(texture.mean()) < 0.1 and texture.std() == pytest.approx(1, abs=0.05)
    power = [np.sort(np.abs(np.fft.fft2(t))[1:, 1:].ravel() ** 2)[::-1] for t in (stripes, speckle)]
    assert power[0][:4].sum() / power[0].sum() > 3 * power[1][:4].sum() / power[1].sum()


def test_bodies_hold_muscle_and_some_organs():
    for seed in range(12):
        one = phantoms.body(np.random.default_rng(seed), 48, "x")
        assert one.region.sum() == pytest.approx(1) and one.region[-1] > 0
        assert 1 <= (one.region[:-1] > 0).sum() <= 5
        assert 0.2 < one.foreground.mean() < 0.6
        assert ndimage.label(one.foreground)[1] == 1
        assert np.all(one.color[~one.foreground] == 0) and one.color.min() >= 0 and one.color.max() <= 1


# ---------------------------------------------------------------- phantom: backgrounds and splits


@pytest.mark.parametrize("part", ["valid", "test"])
def test_black_and_white_share_the_foreground_alone(part):
    colors, inside = mixed(getattr(phantom(), part))
    sides = getattr(phantom(), part).table["background"]
    assert sides == ["black", "white"] * (len(sides) // 2)
    for n in range(0, len(colors), 2):
        assert np.array_equal(inside[n], inside[n + 1])
        assert np.array_equal(colors[n][inside[n]], colors[n + 1][inside[n]])
        assert np.median(colors[n][~inside[n]]) < 26 and np.median(colors[n + 1][~inside[n]]) > 229


def test_clutter_is_neutral_and_in_the_background_alone():
    for part in SPLITS:
        colors, inside = mixed(getattr(phantom(), part))
        outside = colors[~inside].astype(int)
        assert np.ptp(outside, axis=1).max() == 0
        assert ((outside > 60) & (outside < 200)).any(), "there are things to be fooled by"
    one = phantoms.body(np.random.default_rng(1), 48, "x")
    cluttered = slices.add_clutter(np.random.default_rng(2), one.color, one.foreground)
    assert np.array_equal(cluttered[one.foreground], one.color[one.foreground])
    assert not np.array_equal(cluttered[~one.foreground], one.color[~one.foreground])


def test_items_of_test_come_twice_and_those_of_training_by_turns():
    made = phantom()
    assert (len(made.train), len(made.valid), len(made.test)) == (6, 4, 6)
    assert made.train.table["background"] == ["black", "white"] * 3
    for part in (made.train, made.valid, made.test):
        assert part.tensors["white"].tolist() == [side == "white" for side in part.table["background"]]
        assert len(set(part.table["case"])) == len(part)
    assert len(set(made.test.table["group"])) == 3


@pytest.mark.parametrize(("background", "sides"), [("black", {"black"}), ("white", {"white"}), ("keep", {"kept"})])
def test_one_background_alone(background, sides):
    made = phantom(background=background, train=2, valid=1, test=1)
    assert [len(getattr(made, part)) for part in SPLITS] == [2, 1, 1]
    assert {side for part in SPLITS for side in getattr(made, part).table["background"]} == sides


def test_pseudo_foreground_finds_the_body_among_clutter():
    for size in (32, 64):
        made = anatomy.phantom(Options(size=size, train=20, valid=3, test=3))
        for part in SPLITS:
            true, guess = (getattr(made, part).tensors[key] > 0 for key in ("foreground", "pseudo"))
            ious = (true & guess).flatten(1).sum(1) / (true | guess).flatten(1).sum(1)
            assert ious.min() > 0.95


def test_pseudo_foreground_of_colours_that_differ_from_the_border():
    image = np.full((12, 12, 3), 0.5)
    image[4:8, 4:8] = 0.5, 0.5, 0.65
    image[2, 2] = 0.55  # within the threshold
    expected = np.zeros((12, 12), bool)
    expected[4:8, 4:8] = True
    assert np.array_equal(slices.pseudo_foreground(image), expected)


def test_pseudo_foreground_of_one_body():
    image, expected = np.full((30, 30, 3), 0.5), box((30, 30), 8)
    image[expected] = 0.5, 0.5, 0.65
    image[14, 14] = 0.5  # a hole
    image[3, 3], image[26:29, 4:12] = 0.0, 0.0  # a speck of dust, a tray
    assert np.array_equal(slices.pseudo_foreground(image, one_body=True), expected)


def test_phantoms_follow_their_seed():
    assert phantom().fingerprint == anatomy.phantom(SMALL).fingerprint
    assert phantom().fingerprint != phantom(data_seed=1).fingerprint
    fewer = phantom(train=3)
    assert torch.equal(fewer.train.tensors["target"], phantom().train.tensors["target"][:3])
    assert torch.equal(fewer.test.tensors["target"], phantom().test.tensors["target"])


@pytest.mark.parametrize("source", [phantom, samples])
def test_no_image_is_in_two_splits(source):
    key = "foreground" if source is phantom else "image"  # clutter would hide a body that comes again
    seen = [{image.tobytes() for image in planes(getattr(source(), part), key)} for part in SPLITS]
    groups = [set(getattr(source(), part).table["group"]) for part in SPLITS]
    for sets in (seen, groups):
        assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])


@pytest.mark.parametrize("source", [phantom, samples])
def test_batches_hold_what_is_promised(source):
    made = source()
    assert made.spec["size"] == 32
    for part in SPLITS:
        cases = getattr(made, part)
        batch, count = cases.__getitems__(range(len(cases))), len(cases)
        shapes = {key: tuple(value.shape) for key, value in batch.items()}
        grey, regions = (count, 1, 32, 32), (count, made.spec["regions"])
        assert shapes == {"image": grey, "target": (count, 3, 32, 32), "foreground": grey, "pseudo": grey} | {
            "white": (count,), "region": regions}  # fmt: skip
        luma = (batch["target"] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
        assert (batch["image"] - luma).abs().max() <= 0.5 / 255 + 1e-6
        assert batch["target"].min() >= 0 and 0.5 < batch["target"].max() <= 1
        for key in ("foreground", "pseudo"):
            assert set(batch[key].unique().tolist()) == {0.0, 1.0}
        torch.testing.assert_close(batch["region"].sum(1), torch.ones(count))
        assert all(len(column) == count for column in cases.table.values())
        assert {cases.tensors[key].dtype for key in ("image", "target", "foreground", "pseudo")} == {torch.uint8}


def test_options_are_checked():
    for wrong in ({"valid": 0}, {"train": 0}, {"test": -1}, {"background": "grey"}, {"sise": 3}):
        with pytest.raises(InvalidParameter):
            data.open_data("anatomy", **wrong)


# ---------------------------------------------------------------- samples


@pytest.mark.parametrize(("width", "size"), [(353, 32), (706, 64), (512, 64), (513, 50)])
def test_strips_are_apart(width, size):
    picture = np.broadcast_to(np.arange(width)[None, :, None], (4, width, 3))
    columns = {name: part[0, :, 0] for name, part in pictures.strips(picture, size).items()}
    assert tuple(columns) == SPLITS
    for before, after in (("train", "valid"), ("valid", "test")):
        assert columns[after].min() - columns[before].max() - 1 == size // 2
    assert all(len(part) >= size for part in columns.values())
    assert columns["train"].min() == 0 and columns["test"].max() == width - 1


def test_blocks_of_testing_do_not_overlap():
    area = np.random.default_rng(0).random((96, 128, 3))
    for split, step in (("train", 16), ("test", 32)):
        found = list(pictures.blocks(area, SMALL, "retina", 0, split))
        corners = [tuple(map(int, one.case.split("-")[-2:])) for one in found]
        assert len(corners) == len(set(corners)) > 2
        assert all(y % step == x % step == 0 for y, x in corners)
        for one, (y, x) in zip(found, corners, strict=True):
            assert np.array_equal(one.color, area[y : y + 32, x : x + 32])


def test_foreground_of_samples_is_tissue():
    area = np.zeros((64, 128, 3))
    tissue = np.hypot(*(np.mgrid[:64, :128] - np.array([32, 64])[:, None, None])) < 40
    area[tissue] = 0.7, 0.4, 0.2
    found = list(pictures.blocks(area, SMALL, "retina", 0, "train"))
    assert found
    for one in found:
        assert one.color[one.foreground].min() > 0.1 and 0.25 < one.foreground.mean() < 0.8


def test_samples_are_two_kinds_of_tissue():
    for part in SPLITS:
        cases = getattr(samples(), part)
        assert set(cases.tensors["region"].argmax(1).tolist()) == {0, 1}
        assert {case.split("-")[1] for case in cases.table["case"]} == {part}
        colors, inside = mixed(cases)
        for color, mask, kind in zip(colors, inside, cases.tensors["region"].argmax(1), strict=True):
            assert kind == 1 or (color[mask].max(-1) < 20).mean() < 0.01, "no black beyond the fundus"
            assert np.ptp(color[~mask].reshape(-1)) == 0


# ---------------------------------------------------------------- folders


def picture(seed=0, shape=(24, 30), ground=0.0):
    """(H, W, 3) uint8: a coloured rectangle on a border of one colour."""
    rng = np.random.default_rng(seed)
    image = np.full((*shape, 3), ground)
    tissue = rng.uniform(0.3, 1.0, 3) * [1.0, 0.6, 0.4]
    image[5:-5, 5:-5] = tissue + 0.05 * rng.random((shape[0] - 10, shape[1] - 10, 1))
    return np.round(image.clip(0, 1) * 255).astype(np.uint8)


def save(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (array if isinstance(array, Image.Image) else Image.fromarray(array, mode)).save(path, **options)
    return path


def fill(folder, count=12, **options):
    return [save(folder / f"slice_{n}.png", picture(n, **options)) for n in range(count)]


def load(root, **changes):
    return anatomy.load(root, Options(**{**vars(SMALL), **changes}))


def everything(made, key="case"):
    return [value for part in SPLITS for value in getattr(made, part).table[key]]


def refused(call, *words):
    with pytest.raises(InvalidImage) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_alone(tmp_path):
    fill(tmp_path)
    made = load(tmp_path)
    assert [len(getattr(made, part)) for part in SPLITS] == [6, 4, 6] and made.aside == []
    assert made.spec == {"size": 32, "regions": 1} and made.name == tmp_path.name
    for part in SPLITS:
        colors, inside = mixed(getattr(made, part))
        assert 0.2 < inside.mean() < 0.6
        assert colors[inside].max(-1).min() > 40, "the foreground is the coloured part"
    sizes = [len(set(getattr(made, part).table["group"])) for part in SPLITS]
    assert sizes == [6, 2, 3]


@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_tissue_is_found_on_dark_and_on_light_borders(ground):
    image = picture(ground=ground) / 255
    assert np.array_equal(slices.stained(image), box(image.shape[:2], 5))


def test_what_fills_up_the_square_is_background(tmp_path):
    image = np.full((16, 32, 3), 255, np.uint8)
    ring = ~box((16, 32), 4)
    image[ring] = 230, 130, 130  # as far as the border and what continues it: told as tissue
    path = save(tmp_path / "a.png", image)
    (one,) = folders.slices_of(Entry(path, None, "a", np.eye(1)[0]), tmp_path, SMALL)
    assert np.array_equal(one.foreground[8:24], ring)
    assert not one.foreground[:8].any() and not one.foreground[24:].any()


def test_images_of_different_sizes(tmp_path):
    for n in range(9):
        save(tmp_path / f"{n}.png", picture(n, (20 + 7 * n, 60 - 4 * n)))
    made = load(tmp_path)
    assert all(getattr(made, part).tensors["target"].shape[1:] == (3, 32, 32) for part in SPLITS)
    assert made.aside == []


HALF = np.zeros((24, 30), np.uint8)
HALF[:, 10:25] = 1


def masks():
    """One mask, the same to every viewer, by how it is stored."""
    reversed_grey = Image.fromarray(1 - HALF, "P")  # index 0 is white, index 1 black
    reversed_grey.putpalette([255, 255, 255, 0, 0, 0])
    grey = Image.fromarray(255 - 255 * HALF, "P")  # a whole ramp from white to black
    grey.putpalette([255 - n // 3 for n in range(768)])
    colored = Image.fromarray(HALF, "P")
    colored.putpalette([0, 0, 0, 255, 0, 0])
    soft = np.round(ndimage.gaussian_filter(255.0 * HALF, (0, 0.7))).astype(np.uint8)
    return {
        "black and white": 255 * HALF, "zero and one": HALF, "rgb": np.stack([255 * HALF] * 3, -1), "soft": soft,
        "reversed palette": reversed_grey, "reversed ramp": grey, "coloured palette": colored,
        "bits": Image.fromarray(HALF.astype(bool)), "deep": 65535 * HALF.astype(np.uint16), "dark label": 100 * HALF,
    }  # fmt: skip


@pytest.mark.parametrize("kind", masks())
def test_masks_are_what_a_viewer_shows(tmp_path, kind):
    path = save(tmp_path / "m.png", masks()[kind])
    assert np.array_equal(folders.foreground_of(path, (24, 30)), HALF > 0)


@pytest.mark.parametrize("kind", ["black and white", "zero and one", "reversed palette"])
def test_a_folder_with_masks(tmp_path, kind):
    for n in range(6):
        save(tmp_path / "images" / f"case{n}.png", picture(n))
        save(tmp_path / "masks" / f"case{n}_mask.png", masks()[kind])
    made = load(tmp_path)
    expected = slices.fitted_mask(HALF > 0, 32)
    for part in SPLITS:
        assert all(np.array_equal(inside, expected) for inside in mixed(getattr(made, part))[1])


def test_masks_that_do_not_fit(tmp_path):
    for n in range(12):
        save(tmp_path / "images" / f"{n}.png", picture(n))
        save(tmp_path / "masks" / f"{n}.png", 255 * (HALF if n != 5 else HALF[:-1]) * (n != 7))
    made = load(tmp_path, train=40)
    reasons = dict(made.aside)
    assert set(reasons) == {"5.png", "7.png"}
    assert "23 x 30" in reasons["5.png"] and "an empty mask" in reasons["7.png"]
    assert len(set(everything(made, "group"))) == 10
    (tmp_path / "masks" / "3.png").unlink()
    refused(lambda: load(tmp_path), "images/3.png has no mask")


# ---------------------------------------------------------------- folders: splits


def entries(sizes):
    """Groups of these sizes in the order of their names."""
    return [
        Entry(Path(f"{group}_{n}.png"), None, f"g{group:03d}", np.eye(1)[0])
        for group, size in enumerate(sizes)
        for n in range(size)
    ]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.integers(1, 6), min_size=3, max_size=30),
    *(st.integers(1, 200) for _ in range(3)),
    st.integers(0, 5),
)
def test_whole_groups_go_to_one_split(sizes, train, valid, test, seed):
    wanted = {"train": train, "valid": valid, "test": test}
    dealt = folders.deal(entries(sizes), Options(size=32, data_seed=seed, **wanted))
    groups = {name: {entry.group for entry in chosen} for name, chosen in dealt.items()}
    assert set(dealt) == set(SPLITS) and all(groups.values())
    assert sum(map(len, groups.values())) == len(set.union(*groups.values()))
    for name, chosen in dealt.items():
        assert len(chosen) <= wanted[name] and len({entry.path for entry in chosen}) == len(chosen)


def test_splits_follow_the_seed_and_the_counts():
    found = entries([1] * 100)
    dealt = folders.deal(found, Options(train=60, valid=10, test=30))
    assert {name: len(chosen) for name, chosen in dealt.items()} == {"train": 60, "valid": 10, "test": 30}
    again = folders.deal(found, Options(train=60, valid=10, test=30))
    assert [e.path for e in dealt["test"]] == [e.path for e in again["test"]]
    other = folders.deal(found, Options(train=60, valid=10, test=30, data_seed=1))
    assert [e.path for e in dealt["test"]] != [e.path for e in other["test"]]


@pytest.mark.parametrize("count", [3, 25, 40, 100, 300])
def test_without_labels_neighbours_stay_together(count):
    groups = [folders.block(n, count) for n in range(count)]
    kept = [group for group in groups if group]
    assert kept == sorted(kept), "blocks are contiguous"
    assert 3 <= len(set(kept)) <= 30
    if count >= 70:  # where there are enough files for one to spare
        for n in range(count - 1):
            assert groups[n] == groups[n + 1] or not (groups[n] and groups[n + 1]), "a gap between blocks"


def test_natural_order():
    names = ["s2.png", "s10.png", "s1.png", "s3²4.png"]  # a raised two is a digit, but no decimal
    assert sorted(map(Path, names), key=folders.natural) == [Path(names[n]) for n in (2, 0, 3, 1)]


@pytest.mark.parametrize(("image", "group", "kind"), [("image_id", "lesion_id", "dx"), ("file", "patient", "label")])
def test_labels_group_and_classify(tmp_path, image, group, kind):
    fill(tmp_path / "images", 18)
    rows = [f"slice_{n},P{n // 3},{'abc'[n % 3]}" for n in range(18)]
    (tmp_path / "labels.csv").write_text("\n".join([f"{image},{group},{kind}", *rows]))
    found = known(tmp_path)
    assert [entry.group for entry in found] == [f"P{n // 3}" for n in range(18)]
    assert [int(entry.region.argmax()) for entry in found] == [n % 3 for n in range(18)]
    made = load(tmp_path, train=40, valid=10, test=10)
    assert made.spec["regions"] == 3
    groups = [set(getattr(made, part).table["group"]) for part in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 6
    assert not any("P" in group for group in set.union(*groups)), "no patient's name"


def test_labels_tell_files_of_one_name_apart(tmp_path):
    rows = ["file,patient"]
    for patient in range(4):
        for n in range(patient + 1):
            save(tmp_path / "images" / f"p{patient}" / f"{n}.png", picture(n))
            rows.append(f"p{patient}/{n}.png,P{patient}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    assert all(entry.group == entry.path.parent.name.upper() for entry in known(tmp_path))


def test_labels_of_names_with_dots(tmp_path):
    for n in range(4):
        save(tmp_path / f"1.2.840.{n}.png", picture(n))
    (tmp_path / "labels.csv").write_text("\n".join(["image_id,patient", *(f"1.2.840.{n},P{n}" for n in range(4))]))
    assert [entry.group for entry in known(tmp_path)] == ["P0", "P1", "P2", "P3"]


def test_labels_without_a_column_of_images(tmp_path):
    fill(tmp_path)
    (tmp_path / "labels.csv").write_text("name,patient\nslice_1,a\n")
    refused(lambda: load(tmp_path), "labels.csv", "file, image_id or image", "name, patient")


# ---------------------------------------------------------------- folders: what is set aside, what is accepted


@pytest.mark.parametrize("bad", range(10))
def test_one_bad_file_never_costs_the_others(tmp_path, bad):
    fill(tmp_path, 10)
    (tmp_path / f"slice_{bad}.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    made = load(tmp_path, train=96, valid=12, test=24)
    assert [name for name, _ in made.aside] == [f"slice_{bad}.png"]
    assert "damaged or incomplete" in made.aside[0][1]
    assert len(set(everything(made, "group"))) == 9 and all(len(getattr(made, part)) for part in SPLITS)


def test_grey_images_are_set_aside(tmp_path):
    fill(tmp_path, 12)
    grey = picture(1)[..., 0]
    save(tmp_path / "slice_4.png", grey)
    save(tmp_path / "slice_8.png", np.stack([grey] * 3, -1))
    made = load(tmp_path, train=40)
    assert {name for name, _ in made.aside} == {"slice_4.png", "slice_8.png"}
    assert all("a colour image" in reason and "workbench predict" in reason for _, reason in made.aside)


def test_pages_of_a_file_are_one_group(tmp_path):
    fill(tmp_path, 5)
    pages = [Image.fromarray(picture(20 + n)) for n in range(3)]
    save(tmp_path / "stack.tif", pages[0], save_all=True, append_images=pages[1:])
    made = load(tmp_path, background="black", train=40, valid=10, test=10)
    assert len(everything(made)) == len(set(everything(made))) == 8
    groups = [getattr(made, part).table["group"] for part in SPLITS]
    (many,) = (group for part in groups for group in set(part) if part.count(group) > 1)
    assert [part.count(many) for part in groups].count(3) == 1 and sum(part.count(many) for part in groups) == 3


def deep(array):
    """A 16-bit RGB PNG as cv2 would write it: Pillow reads those but does not write them."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array.astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def dicom(path, array):
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3"
    ds.PatientName, ds.PatientID = "Doe^Jane", "4711"
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 3, 0, "RGB"
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored = *array.shape[:2], 8, 8
    ds.HighBit, ds.PixelRepresentation, ds.PixelData = 7, 0, array.tobytes()
    ds.save_as(path, enforce_file_format=True)


def test_every_kind_of_colour_file_is_read(tmp_path):
    image = picture(3)
    opaque = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    half = np.dstack([image, np.full(image.shape[:2], 128, np.uint8)])
    save(tmp_path / "a.png", image)
    save(tmp_path / "b.png", opaque)
    save(tmp_path / "c.png", half)
    save(tmp_path / "d.jpg", Image.fromarray(image).convert("CMYK"), quality=95)
    (tmp_path / "e.png").write_bytes(deep(image))
    dicom(tmp_path / "f", image)
    save(tmp_path / "g.tif", image)
    found = {entry.path.stem: next(folders.slices_of(entry, tmp_path, SMALL)) for entry in known(tmp_path)}
    assert sorted(found) == list("abcdefg")
    for name in "abdefg":
        np.testing.assert_allclose(found[name].color, found["a"].color, atol=0.05 if name == "d" else 1e-4)
    np.testing.assert_allclose(found["c"].color, found["a"].color * 128 / 255, atol=1e-4)
    made = load(tmp_path)
    assert made.aside == [] and len(set(everything(made, "group"))) == 7
    assert not any("Doe" in text or "4711" in text for text in everything(made) + everything(made, "group"))


def test_folders_that_cannot_serve(tmp_path):
    refused(lambda: load(tmp_path / "nowhere"), "nowhere", "nothing of that name")
    (empty := tmp_path / "empty").mkdir()
    refused(lambda: load(empty), "a folder with images", "none")
    (notes := tmp_path / "notes").mkdir()
    (notes / "readme.txt").write_text("no image")
    (notes / "table.xlsx").write_bytes(b"PK\x03\x04")
    refused(lambda: load(notes), "a folder with images", "none")
    fill(tmp_path / "one", 1)
    refused(lambda: load(tmp_path / "one"), "at least 3 groups", "1 in 1", "at least 3 images")
    refused(lambda: load(tmp_path / "one" / "slice_0.png"), "at least 3 groups", "1 in 1")
    for n in range(4):
        save(tmp_path / "grey" / f"{n}.png", picture(n)[..., 0])
    refused(lambda: load(tmp_path / "grey"), "4 refused", "a grey image")
    fill(tmp_path / "few", 3)
    (tmp_path / "few" / "slice_1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    refused(lambda: load(tmp_path / "few"), "at least 3 groups", "2 in 2", "slice_1.png that cannot be read")


def test_case_ids_tell_no_name_and_move_with_the_folder(tmp_path):
    first, second = tmp_path / "first", tmp_path / "elsewhere" / "deeper"
    for root in (first, second):
        for n in range(8):
            save(root / f"Jane_Doe_{n}.png", picture(n))
    made, moved = load(first), load(second)
    assert everything(made) == everything(moved) and everything(made, "group") == everything(moved, "group")
    assert made.fingerprint == moved.fingerprint
    cases = everything(made)
    assert all(len(case.split("-")[0]) == 10 and set(case.split("-")[0]) <= set("0123456789abcdef") for case in cases)
    assert len({case.split("-")[0] for case in cases}) == 8


# ---------------------------------------------------------------- Visible Human


@pytest.mark.parametrize("name", ["a_vm1234", "avf1432a", "vm1001", "avm1500"])
def test_names_of_cryosections(name):
    assert folders.VISIBLE_HUMAN.fullmatch(name)
    assert not folders.VISIBLE_HUMAN.fullmatch(name[:-2]) and not folders.VISIBLE_HUMAN.fullmatch(f"my_{name}")


def test_cryosections_have_eight_bands(tmp_path):
    for n in range(16):
        save(tmp_path / f"a_vm{1000 + 10 * n}.png", picture(n))
    found = known(tmp_path)
    assert [int(entry.region.argmax()) for entry in found] == [n // 2 for n in range(16)]
    assert load(tmp_path).spec["regions"] == 8
    fill(tmp_path, 2)  # beside other pictures their names mean nothing
    assert load(tmp_path).spec["regions"] == 1


def raw_file(path, size=folders.RAW[0] * folders.RAW[1] * folders.RAW[2]):
    """A sparse file of planes: red where columns 500 to 1499 of rows 300 to 899 are."""
    with path.open("wb") as file:
        file.truncate(size)
        for row in range(300, 900):
            file.seek(row * folders.RAW[2] + 500)
            file.write(b"\xff" * 1000)
    return path


def test_raw_planes(tmp_path):
    image = folders.raw_planes(raw_file(tmp_path / "a_vm1001.raw"))
    assert image.shape == (1216, 2048, 3) and image.dtype == np.float32
    assert image[300, 500].tolist() == [1, 0, 0] and image[299, 500].tolist() == [0, 0, 0]
    assert image[899, 1499].tolist() == [1, 0, 0] and image[..., 0].sum() == 600_000 and image[..., 1:].max() == 0
    (entry,) = known(tmp_path)
    (one,) = folders.slices_of(entry, tmp_path, Options(size=64))
    assert one.foreground.mean() == pytest.approx(600_000 / 2048**2, rel=0.1)
    assert len(one.region) == 8


def test_raw_planes_of_another_size(tmp_path):
    path = raw_file(tmp_path / "a_vm1001.raw", folders.RAW[1] * folders.RAW[2])
    refused(lambda: folders.raw_planes(path), "a_vm1001.raw", "7471104 bytes", "2490368 bytes", "convert it to PNG")


# ---------------------------------------------------------------- fitting and checking


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (32, 32), (300, 7), (5, 5)])
def test_fitted_keeps_the_ratio_and_continues_the_border(shape):
    image = np.full((*shape, 3), [0.2, 0.4, 0.6], np.float32)
    image[shape[0] // 2, shape[1] // 2] = 1
    out, (top, left, height, width) = anatomy.fitted(image, 32)
    assert out.shape == (32, 32, 3) and max(height, width) == 32
    assert height == max(1, round(32 * shape[0] / max(shape))) and width == max(1, round(32 * shape[1] / max(shape)))
    assert abs(2 * top + height - 32) <= 1 and abs(2 * left + width - 32) <= 1
    outside = np.ones((32, 32), bool)
    outside[top : top + height, left : left + width] = False
    assert np.allclose(out[outside], [0.2, 0.4, 0.6], atol=0.01)
    whole = slices.fitted_mask(np.ones(shape, bool), 32)
    assert np.array_equal(whole, ~outside)


def test_fitted_of_its_own_size_changes_nothing():
    image = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(anatomy.fitted(image, 32)[0], image, atol=1e-6)


def test_check_lists_what_load_takes(tmp_path):
    for n in range(12):
        save(tmp_path / f"p{n}" / "slice.png", picture(n))  # all of one name
    (tmp_path / "p3" / "slice.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    save(tmp_path / "p5" / "slice.png", picture(1)[..., 0])
    options = Options(size=32, train=40, valid=10, test=10)
    *lines, last = anatomy.check(tmp_path, options)
    aside = [line for line in lines if line.startswith("set aside: slice.png: expected")]
    rows = [line.split() for line in lines if line not in aside]
    assert len(aside) == 2 and {path for *_, path in rows} == {f"p{n}/slice.png" for n in range(12) if n not in (3, 5)}
    assert last == "10 colour images can be used, 2 files are set aside"
    made = anatomy.load(tmp_path, options)
    for part in SPLITS:
        loaded = {case.split("-")[0] for case in getattr(made, part).table["case"]}
        assert loaded == {case for case, split, *_ in rows if split == part}
    assert made.aside == [(line.split(": ")[1], line.split(": ", 2)[2]) for line in aside]


# ---------------------------------------------------------------- real files


@pytest.mark.skipif(not (REAL / "lesions").is_dir(), reason="WORKBENCH_DATA is not set, or has no lesions")
def test_real_lesions():
    made = load(REAL / "lesions", train=12, valid=6, test=6)
    assert made.aside == [] and made.spec["regions"] == 7
    assert [len(getattr(made, part)) for part in SPLITS] == [12, 12, 12]
    groups = [set(getattr(made, part).table["group"]) for part in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for part in SPLITS:
        inside = mixed(getattr(made, part))[1]
        assert all(0.005 < mask.mean() < 0.95 for mask in inside)
        assert not any(mask[[0, -1]].any() for mask in inside), "the square's padding is background"


@pytest.mark.skipif(not (REAL / "blood").is_dir(), reason="WORKBENCH_DATA is not set, or has no blood")
def test_real_blood():
    made = load(REAL / "blood", train=6, valid=2, test=3)
    assert made.aside == [] and [len(getattr(made, part)) for part in SPLITS] == [6, 4, 6]
    for part in SPLITS:
        assert all(0.05 < mask.mean() < 0.7 for mask in mixed(getattr(made, part))[1])


@pytest.mark.skipif(not (REAL / "visible_human").is_dir(), reason="WORKBENCH_DATA is not set, or has no visible_human")
def test_one_real_cryosection_is_too_few_but_readable():
    refused(lambda: load(REAL / "visible_human"), "at least 3 groups", "1 in 1", "at least 3 images")
    (entry,) = known(REAL / "visible_human")
    (one,) = folders.slices_of(entry, REAL / "visible_human", Options(size=64))
    assert 0.05 < one.foreground.mean() < 0.6 and one.region.tolist() == np.eye(8)[0].tolist()
