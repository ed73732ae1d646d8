"""Brains: phantoms whose tumours T2 hardly tells from cysts, cases in folders, splits by case, and bad input."""

import functools
import os
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage

from workbench import data
from workbench.data import brain
from workbench.data.brain import MODALITIES, Options, Slice, folders, layouts, phantoms, slices, volumes
from workbench.errors import InvalidImage

SMALL = {"size": 32, "train": 6, "segmentation": 3, "valid": 2, "test": 4}
SPLITS = ("train", "valid", "test")
REAL = Path(os.environ.get("WORKBENCH_DATA", "missing"))
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # as BraTS has it


def refused(call, *words):
    with pytest.raises(InvalidImage) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def auc(first, second):
    """How often a value of the first is above one of the second."""
    first, second = np.asarray(first)[:, None], np.asarray(second)[None]
    return (first > second).mean() + 0.5 * (first == second).mean()


# ---------------------------------------------------------------- phantoms


@functools.cache
def scenes(count=80, size=64):
    return [phantoms.scene(np.random.default_rng([7, n]), size, sick=True) for n in range(count)]


def inner(one, size=64):
    """A lesion without its soft edge."""
    return one.reaches(size) > 1.5


def greys(modality):
    """The mean grey of every tumour and of every cyst."""
    channel = MODALITIES.index(modality)
    tumours = [head.images[channel][inner(lesions[0])].mean() for head, lesions in scenes()]
    cysts = [head.images[channel][inner(one)].mean() for head, lesions in scenes() for one in lesions[1:]]
    assert len(cysts) > 50
    return tumours, cysts


def test_t2_hardly_tells_a_tumour_from_a_cyst_and_the_others_do():
    tumours, cysts = greys("t2")
    assert 0.7 < auc(tumours, cysts) < 0.95, "a rival that looks at greys alone errs"
    assert np.mean(tumours) - np.mean(cysts) < 0.08
    assert all(auc(*greys(name)) == 1 for name in ("flair", "t1ce", "t1"))


def test_size_does_not_tell_a_tumour():
    radii = [[one.radius for one in lesions] for _, lesions in scenes()]
    assert 0.5 < auc([r[0] for r in radii], [x for r in radii for x in r[1:]]) < 0.8


def roundness(one):
    mask = one.reaches(64) > 0
    edge = mask & ~ndimage.binary_erosion(mask)
    return mask.sum() / edge.sum() ** 2


def test_outline_tells_a_tumour():
    tumours = [roundness(lesions[0]) for _, lesions in scenes()]
    cysts = [roundness(one) for _, lesions in scenes() for one in lesions[1:]]
    assert auc(cysts, tumours) > 0.97


def test_core_and_ring_do_not_show_in_t2():
    for tissue in ("core", "ring"):
        assert phantoms.GREYS[tissue][0] == phantoms.GREYS["oedema"][0]
    ring = [
        head.images[:, (np.abs(lesions[0].reaches(64, phantoms.CORE) + 0.6) < 0.5)].mean(1)
        for head, lesions in scenes()
    ]
    outside = [
        head.images[:, inner(lesions[0]) & (lesions[0].reaches(64, phantoms.CORE) < -3)] for head, lesions in scenes()
    ]
    outside = [values.mean(1) for values in outside if values.shape[1] > 4]
    t2, _, t1ce, t1 = (np.mean(ring, 0) - np.mean(outside, 0)).tolist()
    assert t1ce > 0.3 and abs(t2) < 0.04 and abs(t1) < 0.1


def test_tumour_is_bright_in_flair_and_dark_in_t1():
    tissue = {name: dict(zip(MODALITIES, values, strict=True)) for name, values in phantoms.GREYS.items()}
    assert min(tissue["oedema"]["flair"], tissue["core"]["flair"]) > tissue["white matter"]["flair"] + 0.2
    assert max(tissue["oedema"]["t1"], tissue["core"]["t1"]) < tissue["grey matter"]["t1"]
    head, lesions = scenes()[0]
    white = np.median(head.images[:, head.brain], 1)
    found = dict(zip(MODALITIES, head.images[:, inner(lesions[0])].mean(1) - white, strict=True))
    assert found["flair"] > 0.2 and found["t1"] < -0.1


def test_lesions_lie_apart_and_inside_of_the_brain():
    for head, lesions in scenes():
        masks = [one.reaches(64) > 0 for one in lesions]
        assert (sum(mask.astype(int) for mask in masks) <= 1).all()
        assert np.array_equal(masks[0], head.tumour)
        assert all((mask & head.brain).sum() > 0.9 * mask.sum() for mask in masks)
        assert head.images.min() >= 0 and head.images.max() <= 1 and head.images.shape == (4, 64, 64)


def test_healthy_heads_have_cysts_and_no_tumour():
    for n in range(10):
        head, lesions = phantoms.scene(np.random.default_rng(n), 64, sick=False)
        assert not head.tumour.any() and lesions
        flair = head.images[1][head.brain & ndimage.binary_erosion(head.brain, iterations=4)]
        assert flair.max() < 0.7, "nothing is bright in FLAIR"


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 8), (0.5, 16), (1.0, 32)])
def test_share_of_healthy_heads(share, expected):
    made = data.open_data("brain", size=32, healthy=share)
    for part in (made.train, made.test):
        healthy = [kind == "healthy" for kind in part.table["background"]]
        assert sum(healthy) == expected * len(part) // 32
        assert healthy == [not label.any() for label in part.tensors["label"]]


def test_lengths_grow_with_the_image():
    small, large = (phantoms.scene(np.random.default_rng(3), size, sick=True)[0] for size in (32, 128))
    assert small.tumour.mean() == pytest.approx(large.tumour.mean(), rel=0.25)
    assert small.brain.mean() == pytest.approx(large.brain.mean(), rel=0.15)


def test_phantoms_are_the_same_again_and_do_not_depend_on_one_another():
    one, again, more = (data.open_data("brain", **SMALL | changes) for changes in ({}, {}, {"train": 8, "valid": 3}))
    assert one.fingerprint == again.fingerprint != data.open_data("brain", **SMALL, data_seed=1).fingerprint
    assert torch.equal(one.train.tensors["image"], more.train.tensors["image"][:6])
    assert torch.equal(one.test.tensors["image"], more.test.tensors["image"])
    everyone = torch.cat([getattr(one, split).tensors["image"] for split in SPLITS]).flatten(1)
    assert len(everyone.unique(dim=0)) == len(everyone)


def test_batches_hold_what_is_promised():
    made = data.open_data("brain", **SMALL)
    assert made.spec == {"size": 32} and made.labels == {"tumour": (1,)} and made.unit == "px"
    batch = made.test.__getitems__([0, 2])
    shapes = {key: tuple(value.shape[1:]) for key, value in batch.items()}
    expected = {"image": (1, 32, 32), "target": (3, 32, 32), "label": (1, 32, 32), "foreground": (1, 32, 32)}
    assert shapes == expected | {"spacing": (2,)}
    assert batch["image"].dtype == torch.float32 and batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert batch["label"].dtype == torch.int16 and set(batch["label"].unique().tolist()) <= {0, 1}
    train = made.train.__getitems__([0, 1])
    assert set(train) - set(batch) == {"seg_image", "seg_target", "seg_label"}


def test_channels_are_flair_t1ce_t1():
    head = scenes()[0][0]
    made = slices.cases([head])
    for channel, name in enumerate(("t2", "flair", "t1ce", "t1")):
        plane = torch.cat([made.tensors["image"], made.tensors["target"]], 1)[0, channel] / 255
        assert np.abs(plane.numpy() - head.images[MODALITIES.index(name)]).max() < 0.003


def test_segmentation_slices_are_of_other_cases_and_met_in_turn():
    options = Options(**SMALL | {"train": 7})
    made = {name: [head_of(n, name) for n in range(getattr(options, name))] for name in phantoms_splits()}
    train = slices.assembled("x", made, options).train.tensors
    pool = {round(one.images[0, 0, 0] * 255) for one in made["segmentation"]}
    met = [int(value) for value in train["seg_image"][:, 0, 0, 0]]
    assert set(met) == pool and len(met) == 7 and max(met.count(v) for v in pool) - min(met.count(v) for v in pool) <= 1
    assert not {int(value) for value in train["image"][:, 0, 0, 0]} & pool


def phantoms_splits():
    return ("train", "segmentation", "valid", "test")


def head_of(n, name):
    """A slice whose grey is an id."""
    grey = (phantoms_splits().index(name) * 20 + n) / 255
    empty = np.zeros((32, 32), bool)
    return Slice(np.full((4, 32, 32), grey), empty, ~empty, None, f"{name}-{n}", f"{name}-{n}")


# ---------------------------------------------------------------- folders

NAMES = {"t2": "t2", "flair": "flair", "t1ce": "t1ce", "t1": "t1", "mask": "seg"}
PLAIN = {"t2": "T2", "flair": "FLAIR", "t1ce": "T1POST", "t1": "T1", "mask": "lesion"}


def voxels(seed, shape=(40, 36, 10), tumour=True):
    """Four modalities and a mask: a box of brain with a box of tumour, brighter from slice to slice."""
    rng = np.random.default_rng(seed)
    made = {}
    for number, name in enumerate(MODALITIES):
        array = np.zeros(shape, np.float32)
        array[4:-4, 4:-4] = 100 * (number + 1) + rng.uniform(0, 5, (shape[0] - 8, shape[1] - 8, shape[2]))
        made[name] = array * np.linspace(0.5, 1, shape[2])
    mask = np.zeros(shape, np.uint8)
    if tumour:
        mask[10:20, 10:20, 2:8], mask[13:17, 13:17, 3:6], mask[14, 14, 4] = 2, 1, 4
    return made | {"mask": mask}


def write(folder, arrays, names=NAMES, prefix="", affine=LPS, skip=()):
    folder.mkdir(parents=True, exist_ok=True)
    for key, array in arrays.items():
        if key not in skip:
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{prefix}{names[key]}.nii.gz")


@pytest.fixture
def brats(tmp_path):
    """Eight cases in the layout of BraTS 2018."""
    root = tmp_path / "MICCAI"
    for n in range(8):
        name = f"Brats18_TCIA_{n:02d}_1"
        write(root / ("HGG" if n % 2 else "LGG") / name, voxels(n), prefix=f"{name}_")
    (root / "survival_data.csv").write_text("Brats18ID,Age\n")
    return root


def load(root, **changes):
    return brain.load(root, Options(**SMALL | {"least": 500, "slices": 3} | changes))


def groups(made):
    return {split: set(getattr(made, split).table["group"]) for split in SPLITS}


def case(root, n):
    return next(path for path in root.rglob(f"Brats18_TCIA_{n:02d}_1"))


def test_brats_is_read_and_split_by_case(brats):
    made = load(brats)
    found = groups(made)
    assert not found["train"] & found["valid"] and not found["train"] & found["test"]
    assert not found["valid"] & found["test"] and made.aside == [] and made.name == "MICCAI"
    assert [len(getattr(made, split)) for split in SPLITS] == [6, 2, 4] and made.unit == "mm"
    text = repr([getattr(made, split).table for split in SPLITS])
    assert "Brats18" not in text and "TCIA" not in text


def test_segmentation_cases_are_in_no_other_split(brats):
    read = folders.read_folder(brats, Options(**SMALL | {"least": 500, "slices": 3}))
    of = {name: {entry.name for entry, _ in rows} for name, rows in read.slices.items()}
    assert set(of) == set(phantoms_splits())
    assert sum(map(len, of.values())) == len(set().union(*of.values()))


def test_split_does_not_depend_on_the_order_of_files(brats, monkeypatch):
    first = load(brats)
    listing = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda path, pattern: reversed(list(listing(path, pattern))))
    again = load(brats)
    assert first.fingerprint == again.fingerprint != load(brats, data_seed=2).fingerprint


def test_plain_names_are_read_alike(brats, tmp_path):
    for n in range(8):
        arrays = voxels(n)
        folder = tmp_path / "plain" / case(brats, n).relative_to(brats)
        write(folder, arrays, names=PLAIN)
    one, other = load(brats), load(tmp_path / "plain")
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("Brats18_CBICA_AAB_1_t1ce.nii.gz", "t1ce"), ("BraTS20_Training_001_flair.nii", "flair"),
        ("T1POST.nii.gz", "t1ce"), ("brainT1.nii.gz", None),
        ("sub-1_T1Gd.nii.gz", "t1ce"), ("lesion.nii.gz", "mask"), ("x_seg.nii.gz", "mask"), ("T1.nii.gz", "t1"),
        ("T2.NII.GZ", "t2"), ("t1-flair.nii.gz", "flair"), ("T12.nii.gz", None), ("T2.png", None),
    ],
)  # fmt: skip
def test_names_of_files(name, modality):
    match = layouts.ENDING.fullmatch(name)
    assert (layouts.NAMES[match[1].lower()] if match else None) == modality


def entry_of(root, n=0):
    found, _ = layouts.entries(root, "refuse")
    return next(entry for entry in found if entry.name.endswith(f"TCIA_{n:02d}_1"))


def sliced(entry, **changes):
    return volumes.slices_of(entry, volumes.read(entry), Options(**SMALL | {"least": 500} | changes))


def test_slices_are_those_with_enough_brain(brats):
    arrays = voxels(0)
    arrays["t1"][..., :3] = 0
    arrays["flair"][8:, :, 9] = 0
    write(case(brats, 0), arrays, prefix=f"{case(brats, 0).name}_")
    made = sliced(entry_of(brats), slices=20)
    assert [int(one.case[-3:]) for one in made] == [3, 4, 5, 6, 7, 8]
    assert [int(one.case[-3:]) for one in sliced(entry_of(brats), slices=3)] == [3, 5, 8]
    refused(lambda: sliced(entry_of(brats), least=2000), "over 2000 non-zero pixels", "at most 896")


def test_every_label_above_0_is_tumour_and_half_a_pixel_decides(brats):
    made = {int(one.case[-3:]): one for one in sliced(entry_of(brats), slices=20, size=48)}
    areas = {number: one.tumour.sum() * np.prod(one.spacing) for number, one in made.items()}
    assert [number for number, area in areas.items() if area] == list(range(2, 8))
    assert all(area == pytest.approx(100, rel=0.15) for area in areas.values() if area)


def test_area_interpolation_by_hand():
    greys = np.array([[1.0, 0.5], [0.5, 0.2]]).repeat(24, 0).repeat(24, 1)
    greys[0, 0] = 0.0
    tumour = np.zeros((48, 48), bool)
    tumour[:3, :2], tumour[3:6, :1] = True, True  # two thirds and one third of a pixel
    small = slices.fitted(Slice(np.stack([greys] * 4), tumour, ~tumour, None), 16)
    assert small.images.shape == (4, 16, 16) and small.images[0, 8, 8] == pytest.approx(0.2)
    assert small.images[2, 0, 0] == pytest.approx(8 / 9), "the mean of 3 x 3 pixels"
    assert np.argwhere(small.tumour).tolist() == [[0, 0]]


def test_slices_that_are_not_square_keep_their_proportions():
    box = np.zeros((40, 20), bool)
    box[10:30, 5:15] = True
    one = slices.fitted(Slice(np.stack([box * 0.8] * 4), box, box, (1.0, 1.0)), 32)
    rows, columns = np.ptp(np.argwhere(one.tumour), axis=0) + 1
    assert (rows, columns) == (16, 8) and one.spacing == pytest.approx((1.25, 1.25))
    wide = slices.fitted(Slice(np.stack([box * 0.8] * 4), box, box, (1.0, 2.0)), 32)
    rows, columns = np.ptp(np.argwhere(wide.tumour), axis=0) + 1
    assert (rows, columns) == (16, 16) and wide.spacing == pytest.approx((1.25, 1.25))
    assert one.images[:, :, :8].max() == 0, "black beside it"


def test_front_is_up_and_the_patients_right_is_left(brats):
    arrays = voxels(0)
    arrays["t2"][4:8, 4:8] *= 3  # LPS: the first voxels lie right and in front
    write(case(brats, 0), arrays, prefix=f"{case(brats, 0).name}_")
    image = sliced(entry_of(brats), slices=1)[0].images[0]
    bright = np.argwhere(image > 0.8 * image.max()).mean(0)
    assert bright[0] < 16 and bright[1] < 16


def test_volumes_keep_what_differs_between_slices_and_slices_lose_it(brats):
    entry = entry_of(brats)
    for scale, rises in (("volume", True), ("slice", False)):
        made = sliced(entry, slices=20, scale=scale)
        levels = np.array([[np.median(image[one.brain]) for image in one.images] for one in made])
        assert (np.ptp(levels, axis=0) > 0.3).all() == rises
        assert (levels[-1] > 0.9).all()


@pytest.mark.parametrize("scale", ["volume", "slice"])
def test_scale_of_t2_has_nothing_to_do_with_the_other_modalities(brats, scale):
    before = [one.images[0] for one in sliced(entry_of(brats), scale=scale)]
    arrays = voxels(0)
    for name in ("flair", "t1ce", "t1"):
        arrays[name] = arrays[name] ** 2
    arrays["mask"][:] = 1
    write(case(brats, 0), arrays, prefix=f"{case(brats, 0).name}_")
    after = [one.images[0] for one in sliced(entry_of(brats), scale=scale)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_few_bright_voxels_do_not_darken_the_rest(brats):
    arrays = voxels(0)
    arrays["t1ce"][20, 20, :] = 1e5
    write(case(brats, 0), arrays, prefix=f"{case(brats, 0).name}_")
    assert np.median(sliced(entry_of(brats))[-1].images[2][8:24, 8:24]) > 0.8


# ---------------------------------------------------------------- too few cases


def test_too_few_cases_are_refused_with_the_way_out(tmp_path):
    for n in range(3):
        write(tmp_path / f"patient{n}", voxels(n), names=PLAIN)
    refused(lambda: load(tmp_path), "at least 4 complete cases", "3", "split=slab")


def test_slabs_test_on_a_case_of_their_own_and_leave_gaps(tmp_path):
    for n in range(2):
        write(tmp_path / f"patient{n}", voxels(n, shape=(40, 36, 60)), names=PLAIN)
    options = Options(
        **SMALL | {"train": 60, "segmentation": 30, "valid": 15, "least": 500, "slices": 60, "split": "slab"}
    )
    read = folders.read_folder(tmp_path, options)
    of = {name: {(entry.name, int(one.case[-3:])) for entry, one in rows} for name, rows in read.slices.items()}
    (tested,) = {name for name, _ in of["test"]}
    learning = [of[name] for name in ("train", "segmentation", "valid")]
    assert all(name != tested for part in learning for name, _ in part)
    numbers = [sorted(number for _, number in part) for part in learning]
    assert all(two[0] - one[-1] > 1 for one, two in pairwise(numbers)), "a slab each, with gaps"
    assert len(numbers[0]) > len(numbers[1]) > len(numbers[2]) > 3
    assert load(tmp_path, split="slab").name.endswith("-slabs")


def test_a_single_case_is_refused(tmp_path):
    write(tmp_path / "patient0", voxels(0), names=PLAIN)
    refused(lambda: load(tmp_path, split="slab"), "at least 2 complete cases", "found 1")


# ---------------------------------------------------------------- bad input


def test_cases_that_lack_a_modality_are_all_named(brats):
    for n, key in ((1, "t1ce"), (4, "t2")):
        next(case(brats, n).glob(f"*_{key}.nii.gz")).unlink()
    next(case(brats, 4).glob("*_seg.nii.gz")).unlink()
    refused(
        lambda: load(brats),
        "HGG/Brats18_TCIA_01_1 lacks t1ce", "LGG/Brats18_TCIA_04_1 lacks t2 and mask", "missing=skip",
    )  # fmt: skip
    made = load(brats, missing="skip")
    assert [name for name, _ in made.aside] == ["HGG/Brats18_TCIA_01_1", "LGG/Brats18_TCIA_04_1"]
    assert "no t2 and no mask" in made.aside[1][1]


def test_skipping_cannot_leave_nothing(tmp_path):
    for n in range(4):
        write(tmp_path / f"patient{n}", voxels(n), names=PLAIN, skip=("mask",))
    refused(lambda: load(tmp_path, missing="skip"), "patient0 lacks mask", "patient3 lacks mask")


def broken(brats, **changes):
    """The first case with other files; what is read of it."""
    folder = case(brats, 0)
    for key, (array, affine) in changes.items():
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{folder.name}_{NAMES[key]}.nii.gz")
    return lambda: volumes.read(entry_of(brats))


def test_modalities_of_another_shape_are_refused(brats):
    refused(broken(brats, flair=(voxels(0, shape=(40, 36, 9))["flair"], LPS)), "_flair.nii.gz", "40 x 36 x 10", "x 9")
    made = load(brats)
    assert len(made.aside) <= 1 and all("40 x 36 x 9" in reason and "\n" not in reason for _, reason in made.aside)


def test_masks_of_another_shape_are_refused(brats):
    refused(broken(brats, mask=(voxels(0, shape=(36, 40, 10))["mask"], LPS)), "_seg.nii.gz", "40 x 36", "36 x 40")


def test_volumes_in_another_place_are_refused(brats):
    moved = LPS.copy()
    moved[0, 3] = 7
    refused(broken(brats, t1=(voxels(0)["t1"], moved)), "_t1.nii.gz", "in the place of", "7 mm apart")


def test_another_orientation_of_the_same_place_is_turned(brats):
    before = volumes.read(entry_of(brats))
    turned = np.diag([1.0, -1.0, 1.0, 1.0])
    turned[0, 3] = -39
    broken(brats, t1=(voxels(0)["t1"][::-1].copy(), turned))
    after = volumes.read(entry_of(brats))
    assert all(np.array_equal(a.array, b.array) for a, b in zip(before[0], after[0], strict=True))


def test_negative_and_constant_images_and_fractional_masks_are_refused(brats):
    arrays = voxels(0)
    refused(broken(brats, t2=(arrays["t2"] - 10, LPS)), "_t2.nii.gz", "from 0", "down to -10", "skull-stripped")
    refused(broken(brats, t2=(np.full_like(arrays["t2"], 3), LPS)), "_t2.nii.gz", "that differ", "3 everywhere")
    broken(brats, t2=(arrays["t2"], LPS))
    refused(broken(brats, mask=(arrays["mask"] * 0.5, LPS)), "_seg.nii.gz", "whole label values", "fractions")


def test_a_case_that_cannot_be_read_is_set_aside_and_another_takes_its_place(brats):
    names = [
        entry.name
        for entry, _ in folders.read_folder(brats, Options(**SMALL | {"least": 500, "slices": 1})).slices["train"]
    ]
    victim = brats / names[0]
    next(victim.glob("*_t1.nii.gz")).write_bytes(b"\x1f\x8b broken")
    made = load(brats, slices=1, train=2)
    ((name, reason),) = made.aside
    assert name == names[0] and "_t1.nii.gz" in reason and len(made.train) > 0


def test_a_split_without_a_readable_case_is_refused(brats):
    for path in brats.rglob("*_t1.nii.gz"):
        path.write_bytes(b"broken")
    refused(lambda: load(brats), "a case for test that can be used", "_t1.nii.gz")


def test_two_files_for_one_modality_are_refused(brats):
    folder = case(brats, 0)
    write(folder, {"mask": voxels(0)["mask"]}, names={"mask": "lesion"})
    refused(lambda: load(brats), "one file for each modality", "_seg.nii.gz and lesion.nii.gz", "keep one")


@pytest.mark.parametrize("content", ["nothing", "pictures", "missing"])
def test_folders_without_cases_are_refused(tmp_path, content):
    root = tmp_path / "root"
    if content != "missing":
        root.mkdir()
    if content == "pictures":
        (root / "T2.png").write_bytes(b"x")
    refused(lambda: load(root), "root", "check the spelling" if content == "missing" else "BraTS 2018")


def test_more_than_fits_in_memory_is_refused(brats):
    refused(lambda: load(brats, train=10**9), "fit in memory", "smaller size=")


def test_check_tells_every_slice_and_what_is_left(brats):
    next(case(brats, 1).glob("*_t1ce.nii.gz")).unlink()
    lines = list(brain.check(brats, Options(**SMALL | {"least": 500, "slices": 6, "missing": "skip", "train": 2})))
    assert lines[-1].endswith("1 cases are set aside") and any("set aside: HGG/Brats18_TCIA_01_1" in x for x in lines)
    assert any(x.startswith("not used: ") for x in lines)
    assert sum("  train  " in x for x in lines) == 2 and all("tumour" in x or "healthy" in x for x in lines[:3])


# ---------------------------------------------------------------- real data


@pytest.mark.skipif(not (REAL / "brain_ms").is_dir(), reason="WORKBENCH_DATA has no brain_ms")
def test_patients_with_multiple_sclerosis_are_read():
    root = REAL / "brain_ms"
    refused(lambda: brain.load(root, Options()), "at least 4 complete cases", "found 2", "split=slab")
    made = brain.load(root, Options(split="slab", train=24, segmentation=8, valid=4, test=8, slices=40, size=128))
    assert [len(getattr(made, split)) for split in SPLITS] == [24, 4, 8] and made.aside == [] and made.unit == "mm"
    assert "tumour" in made.test.table["background"] and "tumour" in made.train.table["background"]
    test = made.test.__getitems__(range(8))
    inside = test["foreground"] > 0
    assert 0.1 < inside.float().mean() < 0.5 and (test["label"].bool() <= inside).float().mean() > 0.999
    lesions = test["label"].bool()
    flair = test["target"][:, :1]
    assert flair[lesions].mean() > flair[inside & ~lesions].mean(), "lesions are bright in FLAIR"


@pytest.mark.skipif(not (REAL / "brain_stroke").is_dir(), reason="WORKBENCH_DATA has no brain_stroke")
def test_a_case_of_three_modalities_is_refused():
    refused(lambda: brain.load(REAL / "brain_stroke", Options()), "brain_stroke lacks t1ce and mask")
