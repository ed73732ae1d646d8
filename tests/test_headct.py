"""Heads: what is drawn, whose labels are given out, and folders read right or refused in one clear line."""

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from conftest import small_data

from workbench import data
from workbench.data.headct import Options, balanced_order, check, load
from workbench.data.headct.phantoms import CLASSES
from workbench.data.headct.volumes import fitted, inner, nearest
from workbench.errors import InvalidImage, InvalidParameter

FEW = {"size": 16, "train": 8, "valid": 4, "test": 4}


def opened(**options) -> data.Data:
    return data.open_data("headct", **(FEW | options))


def volume(seed: int = 0, sides: tuple[int, ...] = (18, 20, 16)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 100, sides).astype(np.float32)


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def mask(seed: int = 0, sides: tuple[int, ...] = (18, 20, 16), values: tuple[int, ...] = (1, 2)) -> np.ndarray:
    found = np.zeros(sides, np.uint8)
    for place, value in enumerate(values):
        found[4 + 3 * place : 7 + 3 * place, 5 + seed % 3 : 10, 4:9] = value
    return found


def decathlon(root: Path, count: int = 9, labels: int | None = None, table: str = "") -> Path:
    for number in range(count):
        write(root / "images" / f"head_{number:03d}.nii.gz", volume(number))
        if number < (count if labels is None else labels):
            write(root / "labels" / f"head_{number:03d}.nii.gz", mask(number))
    if table:
        (root / "labels.csv").write_text(table)
    return root


def brats(root: Path, grades: tuple[str, ...] = ("HGG", "LGG"), count: int = 4) -> Path:
    for grade in grades:
        for number in range(count):
            name = f"Brats18_{grade}_{number}"
            for channel, modality in enumerate(("t1", "t1ce", "t2", "flair")):
                array = volume(10 * number + channel)
                array[:3] = 0  # a stripped brain
                write(root / grade / name / f"{name}_{modality}.nii.gz", array)
            write(root / grade / name / f"{name}_seg.nii.gz", mask(number, values=(1, 2, 4)))
    return root


def packed(path: Path, sides: tuple[int, ...] = (28, 28, 28), labels: int = 3, **change) -> Path:
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, *sides), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % labels)[:, None]
    np.savez(path, **(arrays | change))
    return path


def refused(call, *words: str) -> None:
    with pytest.raises((InvalidImage, InvalidParameter)) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


# ---------------------------------------------------------------- phantoms


def test_batches_are_as_documented():
    source = small_data("headct")
    batch = source.train.__getitems__([0, 1, 2])
    assert batch["image"].shape == (3, 1, 32, 32, 32) and 0 <= batch["image"].min() <= batch["image"].max() <= 1
    assert batch["class"].dtype == torch.int64 and set(batch["class"].tolist()) <= set(range(4))
    assert batch["label"].shape == (3, 1, 32, 32, 32) and set(batch["label"].unique().tolist()) == {0, 1, 2}
    assert batch["spacing"].tolist() == [[1, 1, 1]] * 3
    assert source.spec["classes"].split(",") == list(CLASSES) and source.spec["task"] == "classification"
    assert source.spec["grid"] == "32x32x32" and source.spec["channels"] == 1
    assert opened(target="structures").spec["task"] == "segmentation"
    assert opened(grid="16x24x32").train.tensors["image"].shape[2:] == (16, 24, 32)


def test_every_case_is_another_and_known_by_its_number():
    source = small_data("headct")
    parts = (source.train, source.valid, source.test)
    numbers = torch.cat([part.tensors["number"] for part in parts])
    assert len(numbers.unique()) == len(numbers)
    images = torch.cat([part.tensors["image"].flatten(1).float() for part in parts])
    assert torch.cdist(images, images).fill_diagonal_(torch.inf).min() > 0
    assert small_data("headct").fingerprint == data.open_data("headct", size=32, train=8, valid=2, test=3).fingerprint
    assert opened().fingerprint != opened(data_seed=1).fingerprint


def test_classes_are_balanced_and_every_haemorrhage_is_in_the_brain():
    source = opened(size=32, train=12, valid=4, test=12)
    for part in (source.train, source.test):
        assert part.tensors["class"].bincount().tolist() == [3, 3, 3, 3]
    blood = (source.test.tensors["label"] == 2).flatten(1).sum(1)
    assert blood.min() >= 5 and blood.max() < 500
    assert ((source.test.tensors["label"] == 1).flatten(1).sum(1) > 20).all()


def test_haemorrhages_differ_in_site():
    """Aneurysms lie below the middle, malformations away from it, the others between."""
    source = opened(size=32, train=40, valid=4, test=4)
    kinds, labels = source.train.tensors["class"], source.train.tensors["label"][:, 0]
    middles = torch.stack([(one == 2).nonzero().float().mean(0) / 16 - 1 for one in labels])
    means = torch.stack([middles[kinds == kind].abs().mean(0) for kind in range(4)])
    assert middles[kinds == 0, 2].mean() < -0.2 < middles[kinds != 0, 2].mean()
    assert means[:, 0].argmax() == 1 and means[0, 0] < 0.25


def test_no_octant_looks_like_another_one_turned():
    """The mean head: its eight octants in all four poses of half turns, 32 cubes, are all different."""
    from workbench.models.cubes import normalised, taken

    source = opened(size=32, train=24)
    cubes = taken(source.train.tensors["image"].float().mean(0, keepdim=True), 2)[0, :, 0]
    turned = torch.stack([c.flip(axes) if axes else c for c in cubes for axes in ((), (0, 1), (1, 2), (0, 2))])
    flat = normalised(turned).flatten(1)
    apart = torch.cdist(flat, flat).fill_diagonal_(torch.inf) / flat.shape[1] ** 0.5
    assert apart.min() > 0.03


# ---------------------------------------------------------------- labels


def test_fewer_labels_are_contained_in_more_and_balanced():
    cases = {count: opened(train=24, labelled=count).train.table["case"] for count in (4, 8, 16)}
    assert set(cases[4]) < set(cases[8]) < set(cases[16]) and [len(c) for c in cases.values()] == [4, 8, 16]
    for count in (4, 8, 16):
        assert opened(train=24, labelled=count).train.tensors["class"].bincount().tolist() == [count // 4] * 4
    again = opened(train=24, labelled=8, part="labelled").train.table["case"]
    assert again == cases[8] and opened(train=24, labelled=8, data_seed=1).train.tensors["image"].shape[0] == 8
    order = balanced_order([0] * 6 + [1] * 2 + [-1] * 3, np.random.default_rng(0))
    assert len(order) == 8 and {*order} == set(range(8)) and sum(i in (6, 7) for i in order[:4]) == 2


def test_unlabelled_part_has_all_training_volumes_and_no_label():
    labelled, bare = opened(train=24, labelled=4), opened(train=24, labelled=4, part="unlabelled")
    assert len(bare.train) == 24 and set(labelled.train.table["case"]) < set(bare.train.table["case"])
    assert (bare.train.tensors["class"] == -1).all() and (bare.train.tensors["label"] == -1).all()
    for part in (labelled, bare):
        assert not set(part.train.table["case"]) & (set(part.test.table["case"]) | set(part.valid.table["case"]))
    assert torch.equal(labelled.test.tensors["image"], bare.test.tensors["image"])


# ---------------------------------------------------------------- folders


def test_decathlon_layout(tmp_path):
    root = decathlon(tmp_path / "heads")
    (root / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}))
    source = opened(root=str(root), train=5, valid=2, test=2)
    assert source.spec["task"] == "segmentation" and source.spec["structures"] == "anterior,posterior"
    assert source.labels == {"anterior": (1,), "posterior": (2,)}
    assert [len(part) for part in (source.train, source.valid, source.test)] == [5, 2, 2]
    assert set(source.train.tensors["label"].unique().tolist()) == {0, 1, 2}
    assert source.train.tensors["spacing"][0].tolist() == pytest.approx([18 / 16, 20 / 16, 1.0])
    assert len(opened(root=str(root), train=5, valid=2, test=2, labelled=2).train) == 2
    lines = list(check(root, Options(**(FEW | {"train": 5, "valid": 2, "test": 2}))))
    assert len(lines) == 11 and "9 volumes can be used" in lines[-1] and "label map" in lines[1]


def test_structures_keep_their_place_when_resampled():
    label = np.zeros((20, 20, 20), np.int16)
    label[10:15, 5:10, :] = 3
    small = nearest(label, (16, 16, 16))
    assert set(np.unique(small)) == {0, 3} and (small[8:12, 4:8] == 3).all() and not small[:8].any()
    assert np.array_equal(nearest(label, (20, 20, 20)), label)
    grey = fitted(label[None].astype(np.float32), (10, 10, 10))[0]
    assert np.array_equal(grey[5:7, 3:5], np.full((2, 2, 10), 3.0))
    assert fitted(label[None].astype(np.float32), (40, 16, 20)).shape == (1, 40, 16, 20)


def test_brats_layout(tmp_path):
    root = brats(tmp_path / "brats")
    source = opened(root=str(root), train=4, valid=2, test=2)
    assert source.spec["channels"] == 4 and source.spec["classes"] == "HGG,LGG"
    assert source.spec["structures"] == "necrosis,oedema,enhancing" and source.spec["task"] == "classification"
    assert source.test.tensors["class"].bincount().tolist() == [1, 1]
    assert source.train.tensors["spacing"][0].tolist() == pytest.approx([15 / 16, 20 / 16, 1.0]), "cut to the brain"
    assert set(source.train.tensors["label"].unique().tolist()) == {0, 1, 2, 3}
    whole = opened(root=str(root), train=4, valid=2, test=2, crop=False, target="structures")
    assert whole.train.tensors["spacing"][0, 0] == 18 / 16 and whole.spec["task"] == "segmentation"
    first = root / "HGG" / "Brats18_HGG_0" / "Brats18_HGG_0_t1.nii.gz"
    first.unlink()
    short = opened(root=str(root), train=4, valid=2, test=2)
    assert [name for name, _ in short.aside] == ["HGG/Brats18_HGG_0"] and "t1" in short.aside[0][1]


def test_modalities_are_scaled_each_by_itself_and_cut_together():
    one, two = np.zeros((8, 8, 8)), np.zeros((8, 8, 8))
    one[2:4, 1:7, 3:6], two[3:6, 2:5, 3:8] = 5, 7
    assert inner([one, two]) == (slice(2, 6), slice(1, 7), slice(3, 8))


def test_medmnist_volumes(tmp_path):
    source = opened(root=str(packed(tmp_path / "organ3d.npz")), train=9, valid=3, test=6)
    assert source.spec["classes"] == "class_0,class_1,class_2" and source.spec["grid"] == "16x16x16"
    assert [len(part) for part in (source.train, source.valid, source.test)] == [9, 3, 6]
    few = opened(root=str(tmp_path / "organ3d.npz"), labelled=3)
    assert sorted(few.train.tensors["class"].tolist()) == [0, 1, 2]
    assert source.name == "organ3d"


def test_a_folder_for_each_class_and_a_table_of_classes(tmp_path):
    for kind in ("stroke", "bleed"):
        for number in range(4):
            write(tmp_path / "kinds" / kind / f"{kind}{number}.nii.gz", volume(number))
    source = opened(root=str(tmp_path / "kinds"), train=4, valid=2, test=2)
    assert source.spec["classes"] == "bleed,stroke" and source.spec["structures"] == ""
    table = "file,label,patient\n" + "".join(f"head_{n:03d}.nii.gz,{'ab'[n % 2]},p{n}\n" for n in range(9))
    named = opened(root=str(decathlon(tmp_path / "table", table=table)), train=5, valid=2, test=2)
    assert named.spec["classes"] == "a,b" and named.spec["structures"] == "structure_1,structure_2"


def test_patients_are_never_in_two_splits(tmp_path):
    table = "file,label,patient\n" + "".join(f"head_{n:03d}.nii.gz,{'ab'[n % 2]},p{n % 6}\n" for n in range(12))
    root = decathlon(tmp_path / "heads", count=12, table=table)
    source = opened(root=str(root), train=8, valid=2, test=2)
    groups = [set(part.table["group"]) for part in (source.train, source.valid, source.test)]
    assert all(groups) and sum(map(len, groups)) == len(set.union(*groups))
    assert not any("head" in name for part in (source.train, source.test) for name in part.table["case"])


def test_volumes_without_label_are_only_played_with(tmp_path):
    root = decathlon(tmp_path / "heads", labels=4)
    bare = opened(root=str(root), train=7, valid=1, test=1, part="unlabelled")
    source = opened(root=str(root), train=7, valid=1, test=1)
    assert len(source.train) == 2 and len(bare.train) == 7
    assert (source.test.tensors["label"].amax((1, 2, 3, 4)) == 2).all()


def test_window_of_ct(tmp_path):
    root = decathlon(tmp_path / "heads")
    source = opened(root=str(root), train=5, valid=2, test=2, window="20,40", size=16)
    assert source.train.tensors["image"].float().mean() > opened(root=str(root)).train.tensors["image"].float().mean()
    refused(lambda: Options(window="40,20"), "window", "lower and the upper")
    refused(lambda: Options(window="a"), "window")


# ---------------------------------------------------------------- bad input


def test_options_that_cannot_be():
    refused(lambda: Options(grid="32x32"), "grid", "3 sides")
    refused(lambda: Options(grid="32x30x32"), "grid", "multiples of 8")
    refused(lambda: opened(target="volume"), "target")
    refused(lambda: load("/nowhere/heads", Options()), "heads", "nothing of that name")


def test_small_flat_and_damaged_volumes_are_set_aside(tmp_path):
    root = decathlon(tmp_path / "heads")
    write(root / "images" / "small.nii.gz", volume(1, (20, 20, 6)))
    write(root / "images" / "flat.nii.gz", np.ones((18, 20, 16), np.float32))
    (root / "images" / "cut.nii.gz").write_bytes((root / "images" / "head_000.nii.gz").read_bytes()[:200])
    write(root / "images" / "moved.nii.gz", volume(3))
    write(root / "labels" / "moved.nii.gz", mask(3, (18, 20, 15)))
    source = opened(root=str(root), train=9, valid=2, test=2)
    reasons = dict(source.aside)
    assert set(reasons) == {"small", "flat", "cut", "moved"}
    assert "at least 8 voxels" in reasons["small"] and "20 x 20 x 6" in reasons["small"]
    assert "one value everywhere" in reasons["flat"] and "18 x 20 x 15" in reasons["moved"]
    for name in (f"head_{n:03d}" for n in range(9)):
        (root / "images" / f"{name}.nii.gz").unlink()
        (root / "labels" / f"{name}.nii.gz").unlink()
    refused(lambda: opened(root=str(root)), "a volume that can be used", "cut")


def test_classes_that_cannot_be_learned(tmp_path):
    for number in range(4):
        write(tmp_path / "one" / "stroke" / f"{number}.nii.gz", volume(number))
    refused(lambda: opened(root=str(tmp_path / "one")), "two classes or more", "stroke")
    table = "file,label\n" + "".join(f"head_{n:03d}.nii.gz,{'b' if n < 2 else 'a'}\n" for n in range(9))
    rare = decathlon(tmp_path / "rare", table=table)
    refused(lambda: opened(root=str(rare)), "at least 3 cases of each class", "b (2)")
    single = decathlon(tmp_path / "single", table=table.replace(",b", ",a"))
    refused(lambda: opened(root=str(single), target="class"), "two classes or more", "one, a")
    assert opened(root=str(single), train=5, valid=2, test=2).spec["task"] == "segmentation", "what else there is"
    refused(lambda: opened(root=str(packed(tmp_path / "x.npz", labels=1))), "x.npz", "two classes or more")


def test_missing_labels_are_told(tmp_path):
    bare = decathlon(tmp_path / "bare", labels=0)
    refused(lambda: opened(root=str(bare)), "3 patients with a label map", "0 of 9")
    refused(lambda: opened(root=str(bare), target="class"), "3 patients with a class", "0 of 9")
    assert len(opened(root=str(bare), train=5, valid=2, test=2, part="unlabelled").train) == 5
    few = decathlon(tmp_path / "few", labels=2)
    refused(lambda: opened(root=str(few)), "3 patients with a label map", "2 of 9")
    refused(lambda: opened(root=str(few), target="class"), "a class", "0 of 9")
    lost = decathlon(tmp_path / "lost", table="file,label\nhead_000.nii.gz,a\nhead_777.nii.gz,b\n")
    refused(lambda: opened(root=str(lost)), "labels.csv", "head_777")
    column = decathlon(tmp_path / "column", table="file,kind\nhead_000.nii.gz,a\n")
    refused(lambda: opened(root=str(column)), "labels.csv", "label")
    (tmp_path / "few" / "dataset.json").write_text("{}")
    refused(lambda: opened(root=str(few)), "dataset.json", "labels")


def test_medmnist_files_that_cannot_serve(tmp_path):
    refused(lambda: opened(root=str(packed(tmp_path / "flat.npz", sides=(28, 28)))), "flat.npz", "3 sides")
    nan = {"val_labels": np.full((6, 1), np.nan)}
    refused(lambda: opened(root=str(packed(tmp_path / "nan.npz", **nan))), "nan.npz", "whole numbers")
    several = {f"{part}_labels": np.ones((count, 4), int) for part, count in (("train", 12), ("val", 6), ("test", 6))}
    refused(lambda: opened(root=str(packed(tmp_path / "many.npz", **several))), "4 findings")


def test_empty_and_foreign_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(lambda: opened(root=str(tmp_path / "empty")), "BraTS cases", "none of them")
    brats(tmp_path / "lacking", grades=("HGG",), count=3)
    for path in (tmp_path / "lacking").rglob("*_flair.nii.gz"):
        path.unlink()
    refused(lambda: opened(root=str(tmp_path / "lacking")), "lacks flair")


ROOT = Path(os.environ.get("WORKBENCH_DATA", "/nowhere"), "hippocampus")


@pytest.mark.skipif(not ROOT.is_dir(), reason="WORKBENCH_DATA has no hippocampus")
def test_hippocampus_of_the_decathlon():
    source = opened(root=str(ROOT), size=32, train=24, valid=8, test=16, labelled=4)
    assert [len(part) for part in (source.train, source.valid, source.test)] == [4, 8, 16] and not source.aside
    assert source.spec["structures"] == "structure_1,structure_2"
    share = (source.test.tensors["label"] > 0).float().mean()
    assert 0.01 < share < 0.3
