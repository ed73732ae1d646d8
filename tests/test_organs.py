"""Organs: phantoms that only the bands tell apart, slices of volumes, the known layouts, and bad masks."""

import functools
import gzip
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from workbench import data
from workbench.data import organs
from workbench.data.organs import Options, Slice, folders, phantoms, slices, volumes
from workbench.errors import InvalidImage, InvalidParameter

SMALL = {"size": 32, "train": 6, "valid": 2, "test": 3}
SPLITS = ("train", "valid", "test")
REAL = Path(os.environ.get("WORKBENCH_DATA", "missing"))
RAS = np.diag([2.0, 1.0, 3.0, 1.0])


def load(root, **changes):
    return organs.load(root, Options(**SMALL | changes))


def parts(made):
    return [getattr(made, split) for split in SPLITS]


def everything(made, key="case"):
    return [value for part in parts(made) for value in part.table[key]]


def refused(call, *words):
    with pytest.raises(InvalidImage) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def aside_of(made, *words):
    """The reason of the only case that was set aside."""
    ((_, reason),) = made.aside
    assert all(word in reason for word in words), reason
    assert "\n" not in reason


# ---------------------------------------------------------------- phantoms


@functools.cache
def scenes(count=150, size=96):
    return [phantoms.scene(np.random.default_rng([7, n]), size) for n in range(count)]


def auc(positive, negative):
    """How often a value of the first is above one of the second."""
    first, second = np.asarray(positive)[:, None], np.asarray(negative)[None]
    return (first > second).mean() + 0.5 * (first == second).mean()


def distances(one, size=96):
    return np.hypot(*one.from_center(size))


def local(image, one):
    """What can be measured within 4 pixels of a blob: mean, variance, and a histogram of gradients."""
    inside = distances(one) < one.radius + 4
    gradient = np.hypot(*np.gradient(image))[inside]
    edges = np.histogram(gradient, bins=6, range=(0, 0.3))[0] / inside.sum()
    return [image[inside].mean(), image[inside].var(), one.radius, *edges]


def arms(image, one):
    """How much brighter it is where the bands of a blob would show than beside them: vertical, horizontal."""
    dy, dx = (np.abs(side) for side in one.from_center(96))
    near, beside = (one.radius + 8, 20), (8, 14)
    found = []
    for along, across in ((dy, dx), (dx, dy)):
        reached = (near[0] < along) & (along < near[1])
        found.append(
            image[reached & (across < 4)].mean() - image[reached & (beside[0] < across) & (across < 14)].mean()
        )
    return found


def of_kind(measure):
    """The measure of every target, and of the distractors on a vertical and on a horizontal band."""
    found = {kind: [] for kind in ((True, True), (True, False), (False, True))}
    for image, _, blobs in scenes():
        for one in blobs:
            if all(26 < c < 70 for c in one.center):  # what the border cuts off is not measured
                found[one.vertical, one.horizontal].append(measure(image, one))
    assert min(map(len, found.values())) > 35
    return [np.array(values) for values in found.values()]


def test_what_is_near_a_blob_does_not_tell_the_target():
    target, vertical, horizontal = of_kind(local)
    for distractor in (vertical, horizontal, np.concatenate([vertical, horizontal])):
        for one, other in zip(target.T, distractor.T, strict=True):
            assert 0.33 < auc(one, other) < 0.67


def test_the_two_bands_together_tell_the_target_and_each_alone_does_not():
    target, vertical, horizontal = of_kind(arms)
    distractors = np.concatenate([vertical, horizontal])
    assert auc(target.min(1), distractors.min(1)) > 0.97
    assert auc(target[:, 0], horizontal[:, 0]) > 0.97 and auc(target[:, 1], vertical[:, 1]) > 0.97
    assert 0.33 < auc(target[:, 0], vertical[:, 0]) < 0.67 and 0.33 < auc(target[:, 1], horizontal[:, 1]) < 0.67


def test_a_narrow_patch_does_not_see_the_band_across():
    for _, _, blobs in scenes()[:20]:
        drawn = phantoms.bands(blobs, 96)
        for one in blobs:
            assert drawn[distances(one) < one.radius + 4].max() < 0.05
        dy, dx = (np.abs(side) for side in blobs[0].from_center(96))
        assert drawn[(dy < 4) & (dx > 0)].max() > 0.9 and drawn[(dx < 4) & (dy > 0)].max() > 0.9


def test_one_target_among_distractors_on_one_band():
    for image, mask, blobs in scenes():
        assert image.min() >= 0 and image.max() <= 1
        assert sum(one.vertical and one.horizontal for one in blobs) == 1 and all(
            o.vertical or o.horizontal for o in blobs
        )
        _, count = ndimage.label(mask)
        middle = np.array(ndimage.center_of_mass(mask))
        assert count == 1 and np.abs(middle - blobs[0].center).max() < 1.5
        assert all(np.hypot(*(np.array(one.center) - blobs[0].center)) > 30 for one in blobs[1:])
    assert sum(len(blobs) > 2 for *_, blobs in scenes()) > 100


def test_lengths_grow_with_the_image():
    small, large = (phantoms.scene(np.random.default_rng(3), size) for size in (48, 192))
    assert np.allclose(4 * np.array(small[2][0].center), large[2][0].center)
    assert small[1].mean() == pytest.approx(large[1].mean(), rel=0.1)


def test_batches_hold_what_is_promised():
    made = data.open_data("organs", **SMALL)
    assert made.spec == {"size": 32, "classes": "organ", "channels": 1} and made.labels == {"organ": (1,)}
    assert made.shown == ("image", "label", "spacing") and made.name == "phantom"
    assert [len(part) for part in parts(made)] == [6, 2, 3]
    for part in parts(made):
        batch = part.__getitems__(range(len(part)))
        assert batch["image"].shape == batch["label"].shape == (len(part), 1, 32, 32)
        assert batch["image"].dtype == torch.float32 and 0 <= batch["image"].min() < batch["image"].max() <= 1
        assert batch["label"].dtype == torch.int16 and batch["label"].unique().tolist() == [0, 1]
        assert batch["spacing"].shape == (len(part), 2) and (batch["spacing"] == 1).all()
    assert len(set(everything(made))) == 11 and everything(made, "group") == everything(made)


def test_phantoms_follow_their_seed():
    made = data.open_data("organs", **SMALL)
    assert made.fingerprint == data.open_data("organs", **SMALL).fingerprint
    assert made.fingerprint != data.open_data("organs", **SMALL, data_seed=1).fingerprint
    fewer = data.open_data("organs", **SMALL | {"train": 2})
    assert torch.equal(fewer.train.tensors["image"], made.train.tensors["image"][:2])
    assert torch.equal(fewer.test.tensors["image"], made.test.tensors["image"])
    images = [image.numpy().tobytes() for part in parts(made) for image in part.tensors["image"]]
    assert len(set(images)) == 11


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"organ": "my organ"}, "one word"), ({"foreground": "tumour"}, "whole numbers"),
        ({"foreground": 1.5}, "whole"), ({"foreground": 0}, "above 0"), ({"window": "300,-80"}, "growing"),
        ({"window": "5"}, "growing"), ({"axis": "oblique"}, "axial"), ({"empty": 1.5}, "[0, 1]"),
        ({"slices": 0}, "at least 1"), ({"slises": 3}, "slices"),
    ],
)  # fmt: skip
def test_options_are_checked(wrong, word):
    with pytest.raises(InvalidParameter) as caught:
        data.open_data("organs", **wrong)
    assert word in str(caught.value)


def test_numbers_of_a_command_line_are_lists():
    assert Options(foreground=2).values == (2,) and Options(foreground=(1, 2)).values == (1, 2)
    assert Options(window=(-80, 300)).limits == (-80.0, 300.0) and Options().limits == Options().values == ()


# ---------------------------------------------------------------- fitting


@pytest.mark.parametrize(
    ("shape", "spacing"), [((40, 20), (1, 1)), ((20, 40), (3, 1)), ((10, 64), (5, 0.7)), ((7, 7), (1, 2))]
)
def test_pixels_become_square_and_spacing_follows(shape, spacing):
    mask = np.zeros(shape, bool)
    mask[: shape[0] // 2] = True
    one = slices.fitted(Slice(np.full(shape, 0.4), mask, spacing), 64)
    extent = np.array(shape) * spacing
    inside = np.argwhere(one.mask)
    height, width = inside.max(0) - inside.min(0) + 1
    assert height * one.spacing[0] == pytest.approx(extent[0] * (shape[0] // 2) / shape[0], abs=1.1 * one.spacing[0])
    assert width * one.spacing[1] == pytest.approx(extent[1], abs=0.01)
    assert one.spacing[0] == pytest.approx(one.spacing[1], rel=0.06)
    assert one.image.shape == (64, 64) and np.allclose(one.image, 0.4)


def test_fitting_what_fits_changes_nothing():
    rng = np.random.default_rng(0)
    one = Slice(rng.random((32, 32)), rng.random((32, 32)) > 0.5, None)
    small = slices.fitted(one, 32)
    assert (
        np.allclose(small.image, one.image, atol=1e-6)
        and np.array_equal(small.mask, one.mask)
        and small.spacing is None
    )


# ---------------------------------------------------------------- pictures


def disk(shape, center, radius):
    return np.hypot(*(np.indices(shape) - np.array(center)[:, None, None])) < radius


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def pictures(root, count=12, ends=("png", "png"), color=False, targets="masks"):
    """Dark disks on light ground, each with its mask."""
    for n in range(count):
        inside = disk((24, 30), (10 + n % 4, 14), 5)
        grey = np.where(inside, 60 + n, 180).astype(np.uint8)
        save(root / "images" / f"case{n}.{ends[0]}", np.stack([grey, grey // 2, grey], -1) if color else grey)
        save(root / targets / f"case{n}.{ends[1]}", 255 * inside.astype(np.uint8))
    return root


@pytest.mark.parametrize(
    ("ends", "color", "targets"),
    [(("png", "png"), False, "masks"), (("jpg", "png"), True, "labels"), (("tif", "bmp"), True, "masks")],
)
def test_pictures(tmp_path, ends, color, targets):
    made = load(pictures(tmp_path, ends=ends, color=color, targets=targets))
    assert [len(part) for part in parts(made)] == [6, 2, 3] and made.aside == [] and made.name == tmp_path.name
    for part in parts(made):
        image, label = part.tensors["image"].float() / 255, part.tensors["label"]
        assert image[label > 0].max() < image[label == 0].median() - 0.1, "the mask lies on its disk"
        assert all(0.05 < share < 0.15 for share in label.float().mean((1, 2, 3)).tolist())
        assert (part.tensors["spacing"] == 1).all()
    factor = np.array([0.299, 0.587 / 2, 0.114]).sum() if color else 1.0
    assert image[label == 0].median().item() == pytest.approx(180 * factor / 255, abs=0.02)


def test_soft_and_reversed_masks_are_what_a_viewer_shows(tmp_path):
    pictures(tmp_path, 6)
    for n in range(6):
        inside = disk((24, 30), (10 + n % 4, 14), 5)
        mask = Image.fromarray(1 - inside.astype(np.uint8), "P")
        mask.putpalette([255, 255, 255, 0, 0, 0])
        mask.save(tmp_path / "masks" / f"case{n}.png")
    reversed_masks = load(tmp_path)
    assert reversed_masks.fingerprint == load(pictures(tmp_path, 6)).fingerprint


def test_chosen_labels(tmp_path):
    pictures(tmp_path, 5)
    for n in range(5):
        mask = disk((24, 30), (10, 14), 6).astype(np.uint8) + disk((24, 30), (10, 14), 3)
        save(tmp_path / "masks" / f"case{n}.png", mask)
    areas = [load(tmp_path, **c).test.tensors["label"][0].sum() for c in ({}, {"foreground": 2}, {"foreground": "1,2"})]
    assert areas[0] == areas[2] > 3 * areas[1] > 0
    refused(lambda: load(tmp_path, foreground=3), "foreground 3", "only label 1 (", "times), 2 (")


def test_labels_csv_names_groups_that_stay_together(tmp_path):
    pictures(tmp_path, 18)
    rows = [f"case{n},L{n // 3}" for n in range(17)]
    (tmp_path / "labels.csv").write_text("\n".join(["image_id,lesion_id", *rows]))
    made = load(tmp_path, train=40, valid=10, test=10)
    groups = [set(part.table["group"]) for part in parts(made)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 6 and not any(
        "L" in group for group in set.union(*groups)
    )
    assert made.aside == [("case17.png", "expected a row in labels.csv, found none; add one or remove the file")]


def test_without_groups_neighbours_stay_together(tmp_path):
    pictures(tmp_path, 100)
    found, _ = folders.entries(tmp_path)
    assert [entry.path.stem for entry in found] == [f"case{n}" for n in range(100)]
    assert len({entry.group for entry in found[:4]}) == 1 and found[4].group == "", "a gap after each block"


def test_case_ids_tell_no_name_and_move_with_the_folder(tmp_path):
    made, moved = (load(pictures(tmp_path / name)) for name in ("first", "second/deeper"))
    assert everything(made) == everything(moved) and made.fingerprint == moved.fingerprint
    assert len(set(everything(made))) == 11 and not any("case" in name for name in everything(made))


# ---------------------------------------------------------------- volumes


def volume(path, array, affine=RAS):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def body(seed=0, shape=(20, 24, 12)):
    """A grey volume that brightens to the right, front and head, and labels: a box of 1 with a smaller one of 2."""
    x, y, z = (np.indices(shape) / np.array(shape)[:, None, None, None]).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    labels[4:12, 6:18, 3:9], labels[6:9, 9:14, 5:7] = 1, 2
    grey = 100 * x + 200 * y + 400 * z + np.random.default_rng(seed).normal(0, 1, shape)
    return grey.astype(np.float32), labels


def scans(root, count=5, affine=RAS):
    for n in range(count):
        grey, labels = body(n)
        volume(root / "images" / f"scan{n}.nii.gz", grey, affine)
        volume(root / "labels" / f"scan{n}.nii.gz", labels, affine)
    return root


def replaced(root, number=2, array=None, affine=RAS, part="labels"):
    """The folder with one file of another content."""
    grey, labels = body(number)
    volume(
        root / part / f"scan{number}.nii.gz",
        array if array is not None else {"labels": labels, "images": grey}[part],
        affine,
    )
    return root


def test_volumes_become_slices(tmp_path):
    made = load(scans(tmp_path), train=10, valid=4, test=4, empty=0.0)
    assert made.aside == [] and len(set(everything(made))) == len(everything(made)) > 10
    groups = [set(part.table["group"]) for part in parts(made)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 5, "a volume lies in one split"
    for part in parts(made):
        assert all((part.tensors["label"] > 0).flatten(1).any(1).tolist())
        assert part.tensors["spacing"][0].tolist() == pytest.approx([40 / 32, 40 / 32], rel=0.07)


def test_each_split_takes_as_few_slices_of_a_volume_as_it_can(tmp_path):
    scans(tmp_path, 6)
    made = load(tmp_path, train=3, valid=1, test=2)
    assert [len(set(part.table["group"])) for part in parts(made)] == [len(part) for part in parts(made)] == [3, 1, 2]
    many = load(tmp_path, train=60, valid=20, test=40, slices=2, axis="sagittal")
    assert max(everything(many, "group").count(group) for group in everything(many, "group")) == 2


@pytest.mark.parametrize(
    ("axis", "across", "shape", "spacing"),
    [("axial", 2, (24, 20), (1, 2)), ("coronal", 1, (12, 20), (3, 2)), ("sagittal", 0, (12, 24), (3, 1))],
)
def test_slices_lie_as_they_are_looked_at(tmp_path, axis, across, shape, spacing):
    entry = folders.entries(scans(tmp_path, 1))[0][0]
    found = list(volumes.cut(entry.path, entry.mask, (), 3, Options(axis=axis, empty=0.0), np.random.default_rng(0)))
    assert len(found) == 3
    labels = body()[1]
    for number, one in found:
        assert one.image.shape == shape and one.spacing == spacing
        assert one.mask.sum() == (labels.take(number, across) > 0).sum() > 0
        assert one.image[0].mean() > one.image[-1].mean() and one.image[:, 0].mean() > one.image[:, -1].mean()


def turned_file(array, order, flips):
    """The same voxels stored along other axes, and the affine that says so."""
    affine = RAS[:, [*order, 3]].copy()
    stored = array.transpose(order)
    for axis in flips:
        affine[:, 3] += affine[:, axis] * (stored.shape[axis] - 1)
        affine[:, axis] *= -1
        stored = np.flip(stored, axis)
    return np.ascontiguousarray(stored), affine


@settings(deadline=None, max_examples=12)
@given(order=st.permutations(range(3)), flips=st.sets(st.integers(0, 2)), which=st.sampled_from(["both", "labels"]))
def test_however_a_volume_is_stored_its_slices_are_the_same(tmp_path_factory, order, flips, which):
    root = tmp_path_factory.mktemp("turned")
    expected = load(scans(root, 3)).fingerprint
    for n in range(3):
        for part, array in zip(("images", "labels"), body(n), strict=True):
            if which in ("both", part):
                volume(root / part / f"scan{n}.nii.gz", *turned_file(array, order, flips))
    assert load(root).fingerprint == expected


@pytest.mark.parametrize(
    ("spacing", "axis"), [((1, 1, 1), 2), ((1, 3, 1), 1), ((3, 1, 1), 0), ((1, 1, 0.999), 2), ((1, 3, 3), 2)]
)
def test_volumes_are_cut_as_they_were_acquired(spacing, axis):
    assert volumes.axis_of(np.array(spacing), "acquired") == axis
    assert volumes.axis_of(np.array(spacing), "coronal") == 1


@given(
    st.lists(st.booleans(), min_size=1, max_size=40).filter(any), st.integers(1, 12), st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 9),
)  # fmt: skip
def test_drawn_slices(present, count, empty, seed):
    present = np.array(present)
    found = volumes.drawn(present, count, empty, np.random.default_rng(seed))
    assert found == sorted(set(found)) and 1 <= len(found) <= count
    if empty == 0 or present.all():
        assert present[found].all() and len(found) == min(count, present.sum())
    elif empty == 1:
        assert not present[found].any()


def test_a_share_of_slices_is_empty(tmp_path):
    made = load(scans(tmp_path, 12), train=60, valid=6, test=6, empty=0.4, axis="axial")
    filled = (made.train.tensors["label"] > 0).flatten(1).any(1).float().mean()
    assert 0.4 < filled < 0.9


def test_grey_values_are_windowed(tmp_path):
    entry = folders.entries(scans(tmp_path, 1))[0][0]

    def greys(**options):
        return next(
            volumes.cut(
                entry.path, entry.mask, (), 1, Options(axis="axial", empty=0.0, **options), np.random.default_rng(0)
            )
        )

    number, one = greys(window="100,500")
    raw = body()[0][:, :, number].T[::-1, ::-1]
    assert np.allclose(one.image, ((raw - 100) / 400).clip(0, 1), atol=1e-6)
    low, high = np.percentile(body()[0], (0.5, 99.5))
    assert np.allclose(greys()[1].image, ((raw - low) / (high - low)).clip(0, 1), atol=1e-5)


# ---------------------------------------------------------------- bad masks and volumes


def test_a_mask_of_another_size_is_set_aside(tmp_path):
    made = load(replaced(scans(tmp_path), array=body(2)[1][:-1]))
    aside_of(made, "expected a mask of 20 x 24 x 12 voxels", "found 19 x 24 x 12")


@pytest.mark.parametrize(
    "affine",
    [np.diag([-2.0, 1, 3, 1]), np.diag([2.0, 1, 3.1, 1]), RAS + np.outer([0, 1, 0, 0], [0, 0, 0, 1]),
     RAS + 0.05 * np.outer([1, 0, 0, 0], [0, 1, 0, 0])],
    ids=["flipped", "spacing", "moved", "sheared"],
)  # fmt: skip
def test_a_mask_in_another_place_is_set_aside(tmp_path, affine):
    made = load(replaced(scans(tmp_path), affine=affine))
    aside_of(made, "a mask in the place of its image", "mm apart", "copy the header")


def test_rounding_of_headers_is_no_other_place(tmp_path):
    assert load(replaced(scans(tmp_path), affine=RAS * (1 + 1e-5))).aside == []


def relabelled(change):
    labels = body(2)[1].astype(np.float32)
    change(labels)
    return labels


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.__setitem__((0, 0, slice(0, 3)), -1), ("whole label values from 0", "label -1 (3 times)")),
        (lambda a: a.__setitem__((0, 0, slice(0, 2)), 0.5), ("label 0.5 (2 times)",)),
        (lambda a: a.__imul__(0), ("foreground", "an empty mask: 5760 times 0")),
        (lambda a: a.__iadd__(1), ("organ and background", "a single class")),
    ],
    ids=["negative", "fractions", "empty", "full"],
)
def test_masks_that_are_no_masks_are_set_aside(tmp_path, change, words):
    made = load(replaced(scans(tmp_path), array=relabelled(change)))
    aside_of(made, *words)
    assert len(set(everything(made, "group"))) == 4


def test_empty_full_and_cut_pictures_are_set_aside(tmp_path):
    pictures(tmp_path, 12)
    save(tmp_path / "masks" / "case1.png", np.zeros((24, 30), np.uint8))
    save(tmp_path / "masks" / "case2.png", np.full((24, 30), 255, np.uint8))
    save(tmp_path / "masks" / "case3.png", 255 * disk((23, 30), (10, 14), 5).astype(np.uint8))
    (tmp_path / "images" / "case4.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    speck = np.zeros((24, 30), np.uint8)
    speck[5, 5] = 255
    save(tmp_path / "masks" / "case5.png", speck)
    reasons = dict(load(tmp_path, train=40, size=16).aside)
    assert set(reasons) == {f"case{n}.png" for n in range(1, 6)}
    assert "an empty mask: 720 times 0" in reasons["case1.png"] and "a single class" in reasons["case2.png"]
    assert "23 x 30" in reasons["case3.png"] and "damaged" in reasons["case4.png"] and "size=16" in reasons["case5.png"]


def test_volumes_that_are_none_are_set_aside(tmp_path):
    scans(tmp_path, 9)
    replaced(tmp_path, 1, np.stack([body(1)[0]] * 2, -1), part="images")
    path = tmp_path / "images" / "scan2.nii.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    raw = bytearray(gzip.decompress((tmp_path / "images" / "scan3.nii.gz").read_bytes()))
    raw[280:328] = bytes(48)  # the rows of its affine
    (tmp_path / "images" / "scan3.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    cut = tmp_path / "labels" / "scan4.nii.gz"
    cut.write_bytes(cut.read_bytes()[:100])
    replaced(tmp_path, 5, np.full((20, 24, 12), 7.0), part="images")
    reasons = dict(load(tmp_path, train=40).aside)
    expected = {
        1: "4 axes",
        2: "damaged or incomplete",
        3: "a singular or infinite affine",
        4: "scan4.nii.gz",
        5: "grey values that differ",
    }
    assert {name: word for name, word in reasons.items() if word}.keys() == {f"scan{n}.nii.gz" for n in expected}
    assert all(word in f"scan{n}.nii.gz {reasons[f'scan{n}.nii.gz']}" for n, word in expected.items())


def test_missing_pairs_are_listed_at_once(tmp_path):
    pictures(tmp_path, 8)
    for gone in ("images/case2.png", "masks/case5.png", "masks/case6.png"):
        (tmp_path / gone).unlink()
    refused(
        lambda: load(tmp_path),
        "images/case5.png has no mask",
        "images/case6.png has no mask",
        "masks/case2.png has no image",
    )


def test_more_slices_than_memory_are_refused_at_once(tmp_path, monkeypatch):
    scans(tmp_path, 3)
    monkeypatch.setattr(folders, "free_memory", lambda: 2**26)
    refused(
        lambda: load(tmp_path, train=2000, size=512),
        "2005 of 512 x 512 pixels, about 4010 MB, with 64 MB free",
        "size=",
    )
    assert len(load(tmp_path).train)


def test_a_volume_beyond_memory_is_set_aside(tmp_path, monkeypatch):
    scans(tmp_path, 4)
    volume(tmp_path / "images" / "scan3.nii.gz", np.zeros((64, 64, 64), np.float32))
    monkeypatch.setattr("workbench.data.io.nifti.free_memory", lambda: 2**20)
    aside_of(load(tmp_path), "a volume that fits in memory", "64 x 64 x 64 voxels, about 3 MB, with 1 MB free")


def test_folders_that_cannot_serve(tmp_path):
    refused(lambda: load(tmp_path / "nowhere"), "nowhere", "nothing of that name")
    (tmp_path / "empty").mkdir()
    refused(lambda: load(tmp_path / "empty"), "a folder with images", "none")
    save(tmp_path / "flat" / "a.png", np.zeros((8, 8), np.uint8))
    refused(lambda: load(tmp_path / "flat"), "images/ with masks/ or labels/", "another layout")
    save(tmp_path / "alone" / "images" / "a.png", np.zeros((8, 8), np.uint8))
    refused(lambda: load(tmp_path / "alone"), "masks/ or labels/ beside images/", "neither")
    refused(lambda: load(pictures(tmp_path / "two", 2)), "at least 3 groups", "2 in 2")
    pictures(tmp_path / "few", 3)
    save(tmp_path / "few" / "masks" / "case1.png", np.zeros((24, 30), np.uint8))
    refused(lambda: load(tmp_path / "few"), "2 in 2", "case1.png", "an empty mask")


# ---------------------------------------------------------------- KiTS19 and ACDC


def kits(root, count=4):
    """Cases as published: voxels stored from head to foot, rows and columns after."""
    affine = np.array([[0, 0, -2.0, 0], [0, -1, 0, 0], [-3, 0, 0, 0], [0, 0, 0, 1]])
    for n in range(count):
        grey, labels = (np.ascontiguousarray(a.transpose(2, 1, 0)) for a in body(n))
        volume(root / f"case_{n:05d}" / "imaging.nii.gz", (grey - 200).astype(np.int16), affine)
        volume(root / f"case_{n:05d}" / "segmentation.nii.gz", labels, affine)
    return root


@pytest.mark.parametrize("below", [".", "data"])
def test_kits19(tmp_path, below):
    kits(tmp_path / below, 4)
    (tmp_path / below / "case_00003" / "segmentation.nii.gz").unlink()
    made = load(tmp_path, organ="tumour", foreground=2, train=4, axis="axial", empty=0.0)
    aside_of(made, "no segmentation.nii.gz")
    assert made.aside[0][0] == "case_00003" and made.spec["classes"] == "tumour" and made.labels == {"tumour": (1,)}
    assert [len(set(part.table["group"])) for part in parts(made)] == [1, 1, 1]
    kidney = load(tmp_path, train=4, axis="axial", empty=0.0)
    assert kidney.test.tensors["label"].sum() > 2 * made.test.tensors["label"].sum() > 0
    assert all(entry.window == "-80,300" for entry in folders.entries(tmp_path)[0])


def test_kits19_is_shown_in_a_window_of_its_own(tmp_path):
    default, given, other = (load(kits(tmp_path), window=w).fingerprint for w in ("", "-80,300", "-200,500"))
    assert default == given != other


def test_kits19_knows_its_labels(tmp_path):
    kits(tmp_path)
    path = tmp_path / "case_00001" / "segmentation.nii.gz"
    image = nibabel.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[0, 0, :4], labels[0, 1, 0] = 3, 9
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), path)
    aside_of(load(tmp_path), "segmentation.nii.gz: expected label values 0, 1, 2, found label 3 (4 times), 9 (1 times)")


def test_acdc(tmp_path):
    for n in range(5):
        folder = tmp_path / "training" / f"patient{n:03d}"
        for frame in (1, 12):
            grey, labels = body(20 * n + frame)
            volume(folder / f"patient{n:03d}_frame{frame:02d}.nii.gz", grey)
            volume(folder / f"patient{n:03d}_frame{frame:02d}_gt.nii.gz", labels)
        volume(folder / f"patient{n:03d}_4d.nii.gz", np.stack([grey, grey], -1))
        (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\n")
    (tmp_path / "training" / "patient004" / "patient004_frame12_gt.nii.gz").unlink()
    (tmp_path / "training" / "patient003" / "patient003_frame01.nii.gz").unlink()
    found, aside = folders.entries(tmp_path)
    assert len(found) == 8 and {entry.group for entry in found} == {f"patient{n:03d}" for n in range(5)}
    assert dict(aside).keys() == {"patient003_frame01.nii.gz", "patient004_frame12.nii.gz"}
    made = load(tmp_path, train=10, valid=2, test=4)
    groups = [set(part.table["group"]) for part in parts(made)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 5, "both frames of a patient lie in one split"


# ---------------------------------------------------------------- checking, real files


def test_check_lists_what_load_takes(tmp_path):
    scans(tmp_path, 9)
    replaced(tmp_path, 4, np.zeros((20, 24, 12), np.uint8))
    options = Options(**SMALL | {"train": 3})
    *lines, last = organs.check(tmp_path, options)
    made = organs.load(tmp_path, options)
    assert last == f"{len(everything(made))} slices of 7 cases can be used, 1 cases are set aside"
    told = {line.split()[0]: line.split()[1] for line in lines if "  images/" in line}
    assert told == {case: split for split in SPLITS for case in getattr(made, split).table["case"]}
    (aside,) = [line for line in lines if line.startswith("set aside: scan4.nii.gz: expected foreground")]
    assert aside.endswith(made.aside[0][1])


@pytest.mark.skipif(not (REAL / "hippocampus").is_dir(), reason="WORKBENCH_DATA is not set, or has no hippocampus")
def test_real_hippocampus():
    made = organs.load(REAL / "hippocampus", Options(train=24, valid=4, test=12, axis="coronal", empty=0.0))
    assert made.aside == [] and [len(part) for part in parts(made)] == [24, 4, 12]
    assert len(set(everything(made, "group"))) == 40
    for part in parts(made):
        shares = part.tensors["label"].float().mean((1, 2, 3))
        assert shares.min() > 0 and 0.02 < shares.median() < 0.12 and shares.max() < 0.2
        assert ((part.tensors["spacing"] > 0.3) & (part.tensors["spacing"] < 0.7)).all()
    anterior = organs.load(REAL / "hippocampus", Options(foreground=1, axis="coronal", empty=0.0))
    assert anterior.aside == []


@pytest.mark.skipif(not (REAL / "lesions").is_dir(), reason="WORKBENCH_DATA is not set, or has no lesions")
def test_real_lesions():
    made = load(REAL / "lesions", train=24, valid=6, test=12, size=96)
    assert made.aside == [] and [len(part) for part in parts(made)] == [24, 6, 12]
    groups = [set(part.table["group"]) for part in parts(made)]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for part in parts(made):
        image, label = part.tensors["image"].float(), part.tensors["label"]
        assert all(0.003 < share < 0.6 for share in label.float().mean((1, 2, 3)).tolist())
        darker = [image[n][label[n] > 0].mean() < image[n][label[n] == 0].mean() for n in range(len(part))]
        assert np.mean(darker) > 0.8, "lesions are darker than skin"
