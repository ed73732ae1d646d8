"""Radiographs: phantoms, materials, who gets which label, the four layouts on disk with every way they can be wrong."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import color

from workbench.data import check, io, open_data
from workbench.data.radiograph import Options, balanced_order, policies
from workbench.data.radiograph.cases import UNKNOWN
from workbench.data.radiograph.layouts import patient_of, worded
from workbench.data.radiograph.materials import CLASSES, GREYS, HUES, findings_of
from workbench.data.radiograph.phantoms import LABELS, chest_of, drawn
from workbench.errors import InvalidImage, InvalidParameter

REAL = Path(os.environ.get("WORKBENCH_DATA", "missing"))
SMALL = {"size": 32, "train": 40, "valid": 6, "test": 12}
SPLITS = ("train", "valid", "test")


def opened(**options):
    return open_data("radiograph", **SMALL | options)


def picture(path: Path, value: int = 0, shape=(40, 36)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)
    return path


# ---------------------------------------------------------------- labels given out


def test_a_smaller_subset_is_contained_in_a_larger_and_is_the_same_again():
    cases = [opened(labelled=count).train.table["case"] for count in (4, 9, 20, 40)]
    assert [len(one) for one in cases] == [4, 9, 20, 40]
    assert all(set(few) <= set(many) for few, many in pairwise(cases))
    assert cases[1] == opened(labelled=9).train.table["case"]
    assert cases[1] != opened(labelled=9, data_seed=1).train.table["case"]


def test_few_labels_hold_as_much_of_every_finding_as_they_can():
    rng = np.random.default_rng(0)
    findings = (rng.random((400, 5)) < 0.1).astype(np.int8)
    chosen = findings[balanced_order(findings, rng)[:40]]
    assert chosen.sum(0).min() >= 9, "dealt at random, a finding would be in about 4 of 40"
    single = np.eye(4, dtype=np.int8)[rng.integers(4, size=200)]
    assert single[balanced_order(single, rng)[:20]].sum(0).tolist() == [5, 5, 5, 5]
    binary = (rng.random((200, 1)) < 0.15).astype(np.int8)
    assert binary[balanced_order(binary, rng)[:20]].sum() == 10


def test_order_holds_every_image_once_and_unknown_ones_last():
    findings = np.array([[UNKNOWN], [1], [0], [UNKNOWN], [0]], np.int8)
    order = balanced_order(findings, np.random.default_rng(3))
    assert sorted(order) == list(range(5)) and set(order[3:]) == {0, 3}


def test_unlabelled_images_are_all_training_images_and_no_test_image():
    pool, few = opened(part="unlabelled", labelled=5), opened(labelled=5)
    assert len(pool.train) == 40 and len(few.train) == 5
    assert pool.train.tensors["known"].sum() == pool.train.tensors["label"].sum() == 0
    assert set(few.train.table["case"]) <= set(pool.train.table["case"])
    assert pool.test.tensors["known"].min() == 1
    assert torch.equal(pool.test.tensors["image"], few.test.tensors["image"])


@pytest.mark.parametrize("source", ["phantom", "materials", "natural"])
def test_no_image_and_no_patient_is_in_two_splits(source):
    made = opened(source=source)
    for key in ("case", "group"):
        parts = [set(getattr(made, name).table[key]) for name in SPLITS]
        assert sum(map(len, parts)) == len(set.union(*parts))
    images = [image.numpy().tobytes() for name in SPLITS for image in getattr(made, name).tensors["image"]]
    assert len(set(images)) == len(images) == 58


# ---------------------------------------------------------------- phantoms


def test_batches_are_as_documented():
    made = opened()
    batch = made.train.__getitems__([0, 3])
    assert batch["image"].shape == (2, 1, 32, 32) and 0 <= batch["image"].min() < batch["image"].max() <= 1
    assert batch["label"].shape == batch["known"].shape == (2, 5) and batch["label"].dtype == torch.float32
    assert made.spec == {"size": 32, "channels": 1, "labels": ",".join(LABELS), "images": len(made.train)}
    assert opened(source="natural").train.__getitems__([0])["image"].shape == (1, 3, 32, 32)


def test_one_split_does_not_change_another_and_sites_differ():
    one, other = opened(), opened(train=7, valid=9)
    assert torch.equal(one.test.tensors["image"], other.test.tensors["image"])
    assert one.fingerprint == opened().fingerprint != opened(data_seed=1).fingerprint
    for source in ("phantom", "materials"):
        a, b = opened(source=source), opened(source=source, site="b")
        assert (a.name, b.name) == (f"{source}-a", f"{source}-b")
        assert not torch.equal(a.test.tensors["image"], b.test.tensors["image"])


def test_findings_come_and_go_by_themselves():
    label = opened(train=600).train.tensors["label"].numpy()
    assert np.abs(label.mean(0) - 0.35).max() < 0.07
    assert np.abs(np.corrcoef(label.T) - np.eye(5)).max() < 0.15


@pytest.mark.parametrize(("number", "brighter"), [(0, True), (1, True), (2, True), (4, True)])
def test_findings_are_seen_where_they_belong(number, brighter):
    """The same chest with and without one finding: brighter in a part of the image, else the same."""
    with_it, without = (
        drawn(np.random.default_rng(7), chest_of(np.random.default_rng(3)), np.eye(5, dtype=int)[number] * on, 64)
        for on in (1, 0)
    )
    change = with_it - without
    if number == 2:  # its random size comes from another range
        change = change * (np.abs(change) > 0.05)
    assert (change > 0.08).mean() > 0.004 and (change < -0.12).mean() < 0.01
    assert (np.abs(change) < 0.05).mean() > 0.6


def test_pleural_line_is_thin_bright_and_has_darker_air_outside():
    arms = [
        drawn(np.random.default_rng(7), chest_of(np.random.default_rng(3)), np.array([0, 0, 0, on, 0]), 96)
        for on in (1, 0)
    ]
    change = arms[0] - arms[1]
    assert 0.001 < (change > 0.1).mean() < 0.04 and (change < -0.05).mean() > 0.005


def test_labels_choose_among_the_findings():
    made = opened(labels="effusion, nodule")
    assert made.spec["labels"] == "nodule,effusion"
    assert torch.equal(made.train.tensors["label"], opened().train.tensors["label"][:, [0, 4]])
    with pytest.raises(InvalidParameter, match="did you mean nodule"):
        opened(labels="nodul")


# ---------------------------------------------------------------- materials


def test_natural_class_is_hue_and_texture_whatever_the_brightness():
    made = opened(source="natural", train=200, size=48)
    image, label = made.train.tensors["image"].numpy(), made.train.tensors["label"].numpy()
    assert (label.sum(1) == 1).all() and made.spec["labels"].split(",") == list(CLASSES)
    hsv = color.rgb2hsv(image.transpose(0, 2, 3, 1))
    sure = hsv[..., 1] > 0.35
    hues = np.array([np.angle(np.exp(2j * np.pi * one[on, 0]).mean()) / (2 * np.pi) % 1 for one, on in zip(hsv, sure)])
    wanted = np.array(HUES)[label.argmax(1) // 2]
    assert (np.abs((hues - wanted + 0.5) % 1 - 0.5) < 0.1).mean() > 0.95
    bright = np.array([one[on, 2].mean() for one, on in zip(hsv, sure)])
    means = [bright[wanted == hue].mean() for hue in HUES]
    assert np.ptp(means) < 0.1, "brightness does not tell the material"


def test_findings_ask_for_greys_that_are_no_neighbours():
    """No threshold on the attenuation tells a finding: along it, each comes and goes at least twice."""
    order = np.argsort(GREYS)
    assert order.tolist() != [0, 1, 2, 3] and order[::-1].tolist() != [0, 1, 2, 3]
    table = np.array([[findings_of(material, texture) for texture in (0, 1)] for material in order])
    turns = np.abs(np.diff(table.astype(int), axis=0)).sum(0)
    assert turns[:, :2].min() >= 2 and turns[0, 2] >= 2, turns
    assert table[:, 1, 2].sum() == 0 and table[:, 0, 2].sum() == 2, "one finding needs the texture"


def test_mean_grey_tells_the_material_of_the_target_at_each_site():
    for site in "ab":
        made = opened(source="materials", train=200, size=48, site=site)
        image, label = made.train.tensors["image"].numpy()[:, 0], made.train.tensors["label"].numpy()
        grey = np.array([np.median(one[one > 60]) for one in image])
        bins = np.digitize(grey, np.quantile(grey, np.linspace(0, 1, 30)[1:-1]))
        purity = [max(label[bins == b, 0].mean(), 1 - label[bins == b, 0].mean()) for b in np.unique(bins)]
        assert np.mean(purity) > 0.9
        assert abs(np.corrcoef(grey, label[:, 0])[0, 1]) < 0.5


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 16}, "at least 32 pixels"), ({"train": 0}, "of at least 1"),
        ({"uncertain": "maybe"}, "ignore, ones, zeros"),
        ({"uncertain": "ones,zeros"}, "one policy for all other"), ({"part": "labeled"}, "did you mean labelled"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(change, words):
    with pytest.raises(InvalidParameter, match=words):
        Options(**change)


def test_policies_by_finding():
    assert policies(Options().uncertain) == {"": "zeros", "Atelectasis": "ones", "Edema": "ones"}
    assert policies("") == {"": "zeros"} and policies("Pleural Effusion=ignore") == {
        "": "zeros",
        "Pleural Effusion": "ignore",
    }


# ---------------------------------------------------------------- CheXpert


HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Atelectasis,Edema,Consolidation"
CELLS = ("1.0,,0.0,", ",1.0,-1.0,0.0", "0.0,-1.0,1.0,1.0", ",0.0,,-1.0")


def chexpert(root: Path, patients: int = 12) -> Path:
    home = root / "CheXpert-v1.0-small"
    for table, first in (("train", 0), ("valid", 100)):
        rows = []
        for number in range(patients if table == "train" else 4):
            for view, kind in (("view1_frontal", "Frontal,AP"), ("view2_lateral", "Lateral,")):
                path = f"CheXpert-v1.0-small/{table}/patient{first + number:05d}/study1/{view}.jpg"
                picture(root / path, 10 + 5 * number)
                rows.append(f"{path},Female,60,{kind},{CELLS[number % 4]}")
        (home / f"{table}.csv").write_text("\n".join([HEADER, *rows]))
    return home


@pytest.mark.parametrize("inner", [True, False])
def test_chexpert_is_read_with_its_policies_from_the_folder_or_the_one_above(tmp_path, inner):
    home = chexpert(tmp_path)
    made = opened(root=str(home if inner else tmp_path), train=9, valid=3, test=4)
    assert made.spec["labels"] == "No Finding,Atelectasis,Edema,Consolidation"
    assert sum(len(getattr(made, name)) for name in SPLITS) == 16, "lateral views are left out"
    label = torch.cat([getattr(made, name).tensors["label"] for name in SPLITS])
    assert label.sum(0).tolist() == [4, 8, 8, 4], "U-Ones for atelectasis and edema, U-Zeros for the rest"
    assert min(getattr(made, name).tensors["known"].min() for name in SPLITS) == 1, "blank is not mentioned: 0"
    assert len(opened(root=str(home), views="all", train=40, valid=8, test=8).train) > 9
    renamed = home.rename(tmp_path / "mine")
    assert opened(root=str(renamed)).name == "mine"


def test_ignored_uncertainty_is_masked(tmp_path):
    made = opened(root=str(chexpert(tmp_path)), uncertain="Edema=ignore,ones", labels="Atelectasis,Edema,Consolidation")
    known, label = (torch.cat([getattr(made, name).tensors[key] for name in SPLITS]) for key in ("known", "label"))
    assert (len(known) - known.sum(0)).tolist() == [0, 4, 0] and label[known == 0].sum() == 0
    assert label.sum(0).tolist() == [8, 4, 8]


def test_official_test_images_are_kept_for_testing(tmp_path):
    home = chexpert(tmp_path)
    lines = list(check("radiograph", home, official=True, **SMALL))
    test = [line for line in lines if "  test   " in line]
    assert len(test) == 4 and all("valid/patient001" in line for line in test)
    assert not [line for line in lines if "  train  " in line and "valid/" in line]
    (home / "valid.csv").unlink()
    with pytest.raises(InvalidImage, match="official test images, found none"):
        opened(root=str(home), official=True)


# ---------------------------------------------------------------- ChestX-ray14


def chestxray14(root: Path) -> Path:
    words = ("No Finding", "Hernia|Edema", "Edema", "Mass")
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,View Position"]
    for number in range(16):
        name = f"{number // 2:08d}_{number % 2:03d}.png"
        picture(root / f"images_{number % 3:03d}" / "images" / name, number)
        rows.append(f"{name},{words[number % 4]},0,{number // 2},PA")
    (root / "Data_Entry_2017.csv").write_text("\n".join(rows))
    (root / "test_list.txt").write_text("00000000_000.png\n00000000_001.png\n00000005_000.png\n")
    return root


def test_chestxray14_findings_are_split_and_patients_kept_together(tmp_path):
    root = chestxray14(tmp_path)
    made = opened(root=str(root), train=10, valid=4, test=4)
    assert made.spec["labels"] == "Edema,Hernia,Mass"
    groups = [set(getattr(made, name).table["group"]) for name in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 8
    label = torch.cat([getattr(made, name).tensors["label"] for name in SPLITS])
    assert label.sum(0).tolist() == [8, 4, 4] and not label.any(1).all()


def test_patients_of_official_test_images_are_in_no_other_split(tmp_path):
    root = chestxray14(tmp_path)
    lines = list(check("radiograph", root, official=True, **SMALL))
    assert sum("  test " in line for line in lines) == 3
    assert not [line for line in lines if "00000005_001" in line], "its other image would leak"


def test_no_identity_is_kept(tmp_path):
    made = opened(root=str(chestxray14(tmp_path)))
    told = str(made.train.table) + str(made.test.table) + str(made.spec)
    assert "0000" not in told


# ---------------------------------------------------------------- plain lists


def plain(root: Path, header: str, *rows: str, images: int = 8) -> Path:
    for number in range(images):
        picture(root / "images" / f"{number:08d}_000.png", 20 * number)
    (root / "labels.csv").write_text("\n".join([header, *rows]))
    return root


NAMES = [f"{number:08d}_000.png" for number in range(8)]


def test_plain_table_with_names_or_with_columns(tmp_path):
    words = [f"{name},{'No_findings' if n % 2 else 'Pneumonia|Mass'},{n // 2}" for n, name in enumerate(NAMES)]
    made = opened(root=str(plain(tmp_path / "a", "file,label,patient", *words)))
    assert made.spec["labels"] == "Mass,Pneumonia" and len(made.train) + len(made.valid) + len(made.test) == 8
    cells = [f"{name},{n},{n % 2},{('-1', '')[n % 2]},{(n + 1) % 2}" for n, name in enumerate(NAMES)]
    made = opened(root=str(plain(tmp_path / "b", "image,patient,mass,edema,effusion", *cells)), labels="mass,effusion")
    assert made.spec["labels"] == "mass,effusion"
    label = torch.cat([getattr(made, name).tensors["label"] for name in SPLITS])
    assert (label.sum(1) == 1).all()
    whole = opened(root=str(plain(tmp_path / "c", "file,label,patient", *(f"images/{row}" for row in words))))
    assert len(whole.train) + len(whole.valid) + len(whole.test) == 8, "a path from the table is as good"
    with pytest.raises(InvalidImage, match="found 8 of 8 missing"):
        opened(root=str(plain(tmp_path / "d", "file,label,patient", *(f"other/{row}" for row in words))))


def test_lists_with_labels_and_without(tmp_path):
    for number in range(6):
        picture(tmp_path / "images" / f"{number:08d}_001.png", 30 * number)
    lines = [f"{number:08d}_001.png {number % 2} {number % 3 // 2}" for number in range(6)]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    made = opened(root=str(tmp_path / "train.txt"))
    assert made.spec["labels"] == "finding_1,finding_2"
    (tmp_path / "names.txt").write_text("\n".join(line.split()[0] for line in lines))
    pool = opened(root=str(tmp_path / "names.txt"), part="unlabelled")
    (tmp_path / "paths.txt").write_text("\n".join(f"images/{line.split()[0]}" for line in lines))
    assert len(opened(root=str(tmp_path / "paths.txt"), part="unlabelled").train) == len(pool.train)
    assert pool.train.tensors["known"].sum() == 0 and len(pool.train) >= 3
    with pytest.raises(InvalidImage, match="pre-train with part=unlabelled"):
        opened(root=str(tmp_path / "names.txt"))
    (tmp_path / "train.txt").write_text("a.png 0 1\nb.png 1\n")
    with pytest.raises(InvalidImage, match="as many labels in every line, found 1, 2 labels"):
        opened(root=str(tmp_path / "train.txt"))


def test_images_are_scaled_and_a_spoilt_one_is_set_aside(tmp_path):
    rows = [f"{name},{n % 2},{n}" for n, name in enumerate(NAMES)]
    root = plain(tmp_path, "file,mass,patient", *rows)
    (root / "images" / NAMES[3]).write_bytes(b"no image")
    made = opened(root=str(root))
    assert [name for name, _ in made.aside] == [NAMES[3]]
    images = torch.cat([getattr(made, name).tensors["image"] for name in SPLITS])
    assert images.shape == (7, 1, 32, 32)
    assert sorted(images[:, 0, 5, 5].tolist()) == [0, 20, 40, 80, 100, 120, 140]
    told = list(check("radiograph", root, **SMALL))
    assert told[-1] == "7 images can be used, 1 are set aside" and any(NAMES[3] in line for line in told)


def test_site_b_is_the_second_set(tmp_path):
    rows = [f"{name},{n % 2},{n}" for n, name in enumerate(NAMES)]
    first, second = (str(plain(tmp_path / name, "file,mass,patient", *rows)) for name in ("one", "two"))
    assert opened(root=first, root_b=second, site="b").name == "two"
    with pytest.raises(InvalidParameter, match="root_b: expected a folder or file for site b"):
        opened(root=first, site="b")


@pytest.mark.parametrize(
    ("header", "cells", "words"),
    [
        ("image_name,label,patient", "{0},a,{1}", "a column file or image or image_id or path, found image_name"),
        ("file,label", "{0},a", "a column patient or group, found file, label"),
        ("file,patient", "{0},{1}", "a column label, or one a finding"),
        ("file,patient,mass", "{0},{1},yes", "1, 0, -1 or blank for every finding, found 8 other: 'yes' in mass of 0"),
        ("file,patient,mass", "{0},{1},nan", "found 8 other: 'nan' in mass"),
        ("file,patient,mass", "{0},{1},0", "images with and without mass, found images without it alone"),
        ("file,patient,label", "{0},{1},Mass", "images with and without Mass, found images with it alone"),
        ("file,patient,mass", "x{0},{1},0", "an image for every row, found 8 of 8 missing: x00000000_000.png, x"),
        ("file,patient,mass", "{0},,{2}", "a patient in every row, found none for 00000000_000.png"),
        ("file,patient,mass", "{0},p,{2}", "at least 3 patients, found 1 with 8 images"),
        ("file,patient,mass", "00000001_000.png,{1},{2}", "one row an image, found several for 00000001_000.png"),
        ("file,patient,label", "{0},{1},", "a column label, or one a finding"),
    ],
)  # fmt: skip
def test_wrong_tables_are_refused_in_one_line(tmp_path, header, cells, words):
    root = plain(tmp_path, header, *(cells.format(name, n, n % 2) for n, name in enumerate(NAMES)))
    with pytest.raises(InvalidImage) as told:
        opened(root=str(root))
    assert words in str(told.value) and "\n" not in str(told.value) and str(tmp_path) not in str(told.value)


def test_folders_that_are_none_or_tell_nothing(tmp_path):
    with pytest.raises(InvalidImage, match="absent"):
        opened(root=str(tmp_path / "absent"))
    with pytest.raises(InvalidImage, match="a folder with images"):
        opened(root=str(tmp_path))
    picture(tmp_path / "a.png")
    with pytest.raises(InvalidImage, match="images without a table"):
        opened(root=str(tmp_path))
    with pytest.raises(InvalidImage, match="fit in memory"):
        opened(root=str(tmp_path), train=10**9)


def test_names_and_words():
    assert (
        worded("Edema|Mass") == ["Edema", "Mass"] and worded("No Finding") == worded("") == worded("No_findings") == []
    )
    assert patient_of("images/00000013_002.png") == "00000013" and patient_of("scan.png") == "scan.png"


# ---------------------------------------------------------------- MedMNIST


def medmnist(path: Path, labels=None, shape=(28, 28), **change) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for number, name in enumerate(("train", "val", "test")):
        count = 12 - 3 * number
        arrays[f"{name}_images"] = rng.integers(0, 255, (count, *shape), dtype=np.uint8)
        arrays[f"{name}_labels"] = np.arange(count)[:, None] % 3 if labels is None else labels[:count]
    np.savez(path, **arrays | change)
    return path


def test_medmnist_keeps_its_splits(tmp_path):
    path = medmnist(tmp_path / "some.npz")
    made = opened(root=str(path), test=4)
    assert [len(getattr(made, name)) for name in SPLITS] == [12, 6, 4]
    assert made.spec["labels"] == "class_0,class_1,class_2" and made.spec["channels"] == 1
    assert made.train.tensors["label"].argmax(1).tolist() == [0, 1, 2] * 4
    binary = opened(root=str(medmnist(tmp_path / "two.npz", np.arange(12)[:, None] % 2, (28, 28, 3))))
    assert binary.spec["labels"] == "class_1" and binary.train.tensors["label"][:4, 0].tolist() == [0, 1, 0, 1]
    several = opened(root=str(medmnist(tmp_path / "many.npz", np.eye(14, dtype=int)[:12])), labels="class_2,class_5")
    assert several.train.tensors["label"][[2, 5, 6]].tolist() == [[1, 0], [0, 1], [0, 0]]


def test_medmnist_images_are_scaled_without_a_shift(tmp_path):
    image = np.zeros((12, 28, 28), np.uint8)
    image[:, :14] = 200
    made = opened(root=str(medmnist(tmp_path / "half.npz", train_images=image)), size=64)
    found = made.train.tensors["image"][0, 0]
    assert found[:30].min() == 200 and found[34:].max() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": (28, 28, 28)}, "images of 2 sides, uint8"),
        ({"train_labels": np.full((12, 1), np.nan)}, "12 others, the first nan"),
        ({"labels": np.zeros((12, 1), int)}, "two classes or more"),
        ({"train_labels": np.zeros((5, 1), int)}, "12 labels, found 5"),
        ({"labels": np.full((12, 1), 0.5)}, "whole numbers from 0"),
        ({"train_labels": np.full((12, 1), "x")}, "numbers as labels"),
        ({"train_images": np.zeros((12, 28, 28), np.float32)}, "uint8, found float32"),
        ({"train_labels": np.array([None] * 12)}, "MedMNIST"),
    ],
)  # fmt: skip
def test_wrong_medmnist_files_are_refused(tmp_path, change, words):
    path = medmnist(tmp_path / "bad.npz", **change)
    with pytest.raises(InvalidImage, match=words):
        opened(root=str(path))
    (tmp_path / "few.npz").write_bytes(b"PK")
    with pytest.raises(InvalidImage, match="MedMNIST"):
        opened(root=str(tmp_path / "few.npz"))
    np.savez(tmp_path / "few.npz", train_images=np.zeros(3))
    with pytest.raises(InvalidImage, match="train_labels, val_images"):
        opened(root=str(tmp_path / "few.npz"))


def test_volumes_of_medmnist_are_read_where_they_are_wanted(tmp_path):
    path = medmnist(tmp_path / "deep.npz", shape=(28, 28, 28))
    found = io.medmnist.read_medmnist(path, sides=3)
    assert found["valid"][0].shape == (9, 28, 28, 28) and found["test"][1].shape == (6, 1)
    with pytest.raises(InvalidImage, match="volumes of 3 sides"):
        io.medmnist.read_medmnist(medmnist(tmp_path / "flat.npz"), sides=3)


# ---------------------------------------------------------------- real images


@pytest.mark.skipif(not (REAL / "radiographs").is_dir(), reason="WORKBENCH_DATA is not set, or has no radiographs")
def test_real_radiographs_are_dealt_by_patient():
    made = open_data("radiograph", root=str(REAL / "radiographs"), size=32, train=60, labelled=20, valid=20, test=40)
    assert made.spec["labels"] == "Pneumonia" and not made.aside
    assert [len(getattr(made, name)) for name in SPLITS] == [20, 20, 40]
    assert made.train.tensors["label"].sum() == 10
    groups = [set(getattr(made, name).table["group"]) for name in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert 30 < made.test.tensors["image"].float().mean() < 220
