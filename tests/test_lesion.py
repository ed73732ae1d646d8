"""Lesions by class: the phantom's known structure, every layout of a folder, and every way it can be wrong."""

import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from workbench.data import check, lesion, open_data
from workbench.data.lesion import CLASSES, SIMILARITY, Options, shares
from workbench.data.lesion.cases import interleaved, squared
from workbench.data.lesion.phantoms import COMMON, drawn, outline
from workbench.data.lesion.tables import CODES, chosen, listed
from workbench.errors import InvalidImage, InvalidParameter

FEW = {"size": 16, "train": 12, "valid": 4, "test": 6}


# ---------------------------------------------------------------- counts and order


@given(st.integers(1, 900), st.integers(2, 12), st.floats(1, 50))
def test_shares_lose_none_and_fall(count, classes, imbalance):
    found = shares(count, classes, imbalance)
    assert sum(found) == count and len(found) == classes
    assert min(found) >= (count >= classes)
    assert all(a >= b - 1 for a, b in pairwise(found)), "but for rounding"


def test_shares_fall_tenfold_as_the_card_asks():
    found = shares(600, 8, 10.0)
    assert found[0] / found[-1] == pytest.approx(10, rel=0.06)
    assert shares(400, 8) == [50] * 8


def test_every_first_part_has_all_classes_in_proportion():
    order = interleaved({"a": ["a"] * 60, "b": ["b"] * 30, "c": ["c"] * 10})
    for stop in (10, 20, 50):
        counts = Counter(order[:stop])
        assert [counts[k] for k in "abc"] == pytest.approx([0.6 * stop, 0.3 * stop, 0.1 * stop], abs=1)
    assert Counter(order) == {"a": 60, "b": 30, "c": 10}


# ---------------------------------------------------------------- phantoms


@pytest.fixture(scope="module")
def phantoms():
    return open_data("lesion", size=32, train=120, valid=16, test=64)


def test_phantoms_are_the_same_every_time_and_splits_do_not_move_one_another(phantoms):
    again = open_data("lesion", size=32, train=120, valid=16, test=64)
    assert again.fingerprint == phantoms.fingerprint
    assert open_data("lesion", size=32, train=120, valid=16, test=64, data_seed=1).fingerprint != again.fingerprint
    fewer = open_data("lesion", size=32, train=40, valid=16, test=64)
    assert torch.equal(fewer.test.tensors["image"], phantoms.test.tensors["image"])


def test_training_is_imbalanced_and_test_balanced(phantoms):
    train = torch.bincount(phantoms.train.tensors["class"], minlength=8)
    assert [int(train[k]) for k in COMMON] == shares(120, 8, 10.0)
    for pair in range(4):
        assert train[2 * pair] > train[2 * pair + 1], "a common and a rarer class in every pair"
    assert torch.bincount(phantoms.test.tensors["class"]).tolist() == [8] * 8


def test_known_similarity_is_four_pairs():
    matrix = torch.tensor(SIMILARITY)
    assert torch.equal(matrix, matrix.T) and torch.equal(matrix.diag(), torch.ones(8))
    inside = [(i, j) for i in range(8) for j in range(i) if matrix[i, j] > 0]
    assert inside == [(1, 0), (3, 2), (5, 4), (7, 6)]
    assert all(CLASSES[i].split("-")[0] == CLASSES[j].split("-")[0] for i, j in inside)


def test_spec_and_table_tell_what_a_method_needs(phantoms):
    assert phantoms.spec == {"channels": 3, "classes": ",".join(CLASSES), "similarity": SIMILARITY, "size": 32}
    batch = phantoms.test.__getitems__([0, 1, 2])
    assert batch["image"].shape == (3, 3, 32, 32) and batch["class"].dtype == torch.int64
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    for number, name in zip(phantoms.test.tensors["class"].tolist(), phantoms.test.table["diagnosis"]):
        assert CLASSES[number] == name
    assert phantoms.labels == {name: (k,) for k, name in enumerate(CLASSES)}


def test_lesions_are_shown_more_than_once_and_stay_in_one_split(phantoms):
    groups = [set(getattr(phantoms, name).table["group"]) for name in ("train", "valid", "test")]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    table = phantoms.train.table
    assert max(Counter(table["group"]).values()) == 2
    assert len(set(table["case"])) == len(phantoms.train)
    of = {}
    for group, name in zip(table["group"], table["diagnosis"]):
        assert of.setdefault(group, name) == name


def test_two_views_of_a_lesion_differ():
    one, two = drawn("x", (0, 11, 0), 0, 2, 32)
    assert one.group == two.group and one.case != two.case
    assert np.abs(one.pixels.astype(int) - two.pixels).mean() > 2


def test_colour_tells_pairs_and_not_the_classes_of_a_pair():
    means = [np.stack([i.pixels for i in drawn("x", (0, 11, 2), k, 60, 16)])[:, 5:11, 5:11] for k in range(8)]
    ratios = np.stack([(m.mean((1, 2)) / m.mean((1, 2, 3))[:, None]).mean(0) for m in means])  # colour without light
    apart = np.linalg.norm(ratios[:, None] - ratios[None], axis=-1)
    inside = [apart[2 * p, 2 * p + 1] for p in range(4)]
    across = [apart[i, j] for i in range(8) for j in range(i) if i // 2 != j // 2]
    assert max(inside) < min(across)


def test_borders_of_a_pair_differ_in_height_alone():
    def heights(kind):
        rng = np.random.default_rng(0)
        return np.array([outline(rng, kind)[1] for _ in range(200)])

    for pair in range(4):
        assert heights(2 * pair).max() < heights(2 * pair + 1).min()
    assert np.allclose(heights(0), heights(2)), "alike in all pairs"


@pytest.mark.parametrize("size", [16, 48, 96, 112])
def test_phantoms_come_in_every_size(size):
    assert drawn("x", (0, 11, 0), 3, 1, size)[0].pixels.shape == (size, size, 3)


def test_fewer_images_than_classes_are_possible():
    made = open_data("lesion", size=32, train=8, valid=2, test=3)
    assert [len(getattr(made, name)) for name in ("train", "valid", "test")] == [8, 2, 3]
    assert sorted(made.train.tensors["class"].tolist()) == list(range(8))


@pytest.mark.parametrize("wrong", [{"train": 0}, {"imbalance": 0.0}, {"size": 40}, {"source": "isic"}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(InvalidParameter):
        Options(**wrong)


# ---------------------------------------------------------------- folders


def picture(path, number, size=(24, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3)).astype(np.uint8)
    Picture.fromarray(pixels).save(path)


NAMES = [f"ISIC_{number:07d}" for number in range(24)]
LABELS = [("NV", "MEL", "DF")[number // 2 % 3] for number in range(24)]
LESIONS = [f"HAM_{number // 2}" for number in range(24)]  # two images each


def write(path, header, rows, mark=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(mark.join(map(str, row)) for row in [header, *rows]) + "\n", encoding="utf-8")


def isic(root, names=NAMES, labels=LABELS):
    for number, name in enumerate(names):
        picture(root / "ISIC2018_Task3_Training_Input" / f"{name}.png", number)
    rows = [(name, *(f"{float(code == label)}" for code in CODES)) for name, label in zip(names, labels)]
    truth = root / "ISIC2018_Task3_Training_GroundTruth" / "ISIC2018_Task3_Training_GroundTruth.csv"
    write(truth, ("image", *CODES), rows)
    pairs = zip(names, LESIONS, ["histopathology"] * len(names))
    write(root / "ISIC2018_Task3_Training_LesionGroupings.csv", ("image", "lesion_id", "diagnosis_confirm_type"), pairs)
    return truth


def ham(root, names=NAMES, labels=LABELS, lesions=LESIONS, table="HAM10000_metadata"):
    for number, name in enumerate(names):
        picture(root / f"HAM10000_images_part_{1 + number % 2}" / f"{name}.png", number)
    rows = zip(lesions, names, [label.lower() for label in labels], ["histo"] * len(names))
    write(root / table, ("lesion_id", "image_id", "dx", "dx_type"), rows)


def plain(root, names=NAMES, labels=LABELS, lesions=LESIONS, mark=","):
    for number, name in enumerate(names):
        picture(root / "images" / f"{name}.png", number)
    if lesions:
        write(root / "labels.csv", ("image", "label", "lesion_id"), zip(names, labels, lesions), mark)
    else:
        write(root / "labels.csv", ("image", "label"), zip(names, labels), mark)


def folders(root, names=NAMES, labels=LABELS):
    for number, (name, label) in enumerate(zip(names, labels)):
        picture(root / label / f"{name}.png", number)


LAYOUTS = {
    "isic": isic,
    "ham": ham,
    "ham csv": lambda root: ham(root, table="HAM10000_metadata.csv"),
    "plain": plain,
    "semicolons": lambda root: plain(root, mark=";"),
    "folders": folders,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_the_same(layout, tmp_path):
    LAYOUTS[layout](tmp_path)
    made = open_data("lesion", root=str(tmp_path), **FEW)
    assert made.spec["classes"] == "DF,MEL,NV" and made.spec["similarity"] == () and made.aside == []
    assert [len(getattr(made, name)) for name in ("train", "valid", "test")] == [12, 4, 6]
    for name in ("train", "valid", "test"):
        assert set(getattr(made, name).table["diagnosis"]) == {"DF", "MEL", "NV"}, "stratified"
    words = str([getattr(made, name).table for name in ("train", "valid", "test")])
    assert "ISIC" not in words and "HAM" not in words, "ids carry no identity"
    groups = [set(getattr(made, name).table["group"]) for name in ("train", "valid", "test")]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert any(len(set(part.table["group"])) < len(part) for part in (made.train, made.test)) == (layout != "folders")


def test_pixels_and_classes_belong_together(tmp_path):
    plain(tmp_path)
    made = open_data("lesion", root=str(tmp_path), **FEW)
    for number, name in enumerate(NAMES):
        pixels = np.asarray(Picture.open(tmp_path / "images" / f"{name}.png"), np.float32) / 255
        image = torch.from_numpy(squared(pixels, 16).transpose(2, 0, 1))
        for part in (made.train, made.valid, made.test):
            for item in (part.tensors["image"] == image).flatten(1).all(1).nonzero()[:, 0].tolist():
                assert part.table["diagnosis"][item] == LABELS[number]


def test_dealing_depends_on_the_seed_alone(tmp_path):
    plain(tmp_path)
    one, same = (open_data("lesion", root=str(tmp_path), **FEW).fingerprint for _ in range(2))
    assert one == same != open_data("lesion", root=str(tmp_path), data_seed=1, **FEW).fingerprint


def test_masks_are_no_images_and_strangers_are_set_aside(tmp_path):
    plain(tmp_path)
    for name in NAMES:
        picture(tmp_path / "masks" / f"{name}.png", 0)
    picture(tmp_path / "images" / "stranger.png", 1)
    (tmp_path / "images" / f"{NAMES[0]}.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    made = open_data("lesion", root=str(tmp_path), size=16, train=100, valid=100, test=100)
    assert sorted(name for name, _ in made.aside) == [f"{NAMES[0]}.png", "stranger.png"]
    told = list(check("lesion", tmp_path, **FEW))
    assert sum("beyond the counts" in line for line in told) >= 1
    assert any(line.startswith("set aside: stranger.png: expected a row in labels.csv") for line in told)
    assert told[-1].endswith("are set aside")


def test_the_middle_square_is_seen():
    image = np.zeros((10, 30, 3), np.float32)
    image[:, 10:20] = 1
    assert (squared(image, 16) == 255).all(), "the sides are cut off"


def test_grey_files_are_repeated(tmp_path):
    folders(tmp_path)
    path = tmp_path / "NV" / f"{NAMES[0]}.png"
    Picture.fromarray(np.full((8, 8), 77, np.uint8)).save(path)
    assert np.allclose(lesion.folders.read_color(path), np.full((8, 8, 3), 77 / 255))


# ---------------------------------------------------------------- what is refused


def refused(root, **options):
    with pytest.raises(InvalidImage) as caught:
        open_data("lesion", root=str(root), **{**FEW, **options})
    line = str(caught.value)
    assert "\n" not in line and str(root.parent) not in line
    return line


def test_table_without_a_needed_column(tmp_path):
    plain(tmp_path)
    write(tmp_path / "labels.csv", ("picture", "kind"), zip(NAMES, LABELS))
    assert "labels.csv with picture, kind" in refused(tmp_path)
    write(tmp_path / "labels.csv", ("image", "kind"), zip(NAMES, LABELS))
    assert "a column label or dx" in refused(tmp_path)


def test_two_tables_with_classes(tmp_path):
    plain(tmp_path)
    write(tmp_path / "more.csv", ("image", "label"), zip(NAMES, LABELS))
    assert "2: labels.csv, more.csv" in refused(tmp_path)


def test_missing_files_are_named_and_counted(tmp_path):
    plain(tmp_path)
    for name in NAMES[:3]:
        (tmp_path / "images" / f"{name}.png").unlink()
    assert f"none for 3: {', '.join(NAMES[:3])};" in refused(tmp_path)


@pytest.mark.parametrize("cell", ["", "nan", "NaN", "NA"])
def test_labels_that_are_missing(tmp_path, cell):
    plain(tmp_path, labels=[cell, cell, *LABELS[2:]])
    assert f"none for 2: {NAMES[0]}, {NAMES[1]};" in refused(tmp_path)


def test_unknown_labels_of_ham(tmp_path):
    ham(tmp_path, labels=["SCAR", "SCAR", *LABELS[2:]])
    line = refused(tmp_path)
    assert f"unknown labels in 2: scar of {NAMES[0]}, scar of {NAMES[1]}" in line and "VASC" in line


@pytest.mark.parametrize(
    "cells", ["nan,0,0,0,0,0,0", "1,1,0,0,0,0,0", "0,0,0,0,0,0,0", "x,0,0,0,0,0,0", "2,0,0,0,0,0,0"]
)
def test_rows_of_isic_that_tell_no_class(tmp_path, cells):
    truth = isic(tmp_path)
    lines = truth.read_text().splitlines()
    lines[1] = f"{NAMES[0]},{cells}"
    truth.write_text("\n".join(lines))
    assert f"none for 1: {NAMES[0]};" in refused(tmp_path)


def test_choice_of_a_column():
    assert chosen(["0", "1.0", "0", "0", "0", "0", "0"]) == "NV"
    assert chosen(["0", "inf", "0", "0", "0", "0", "0"]) == ""
    assert listed(str(n) for n in range(25)).endswith("19 and 5 more")


def test_image_named_twice(tmp_path):
    plain(tmp_path)
    write(tmp_path / "labels.csv", ("image", "label"), zip([*NAMES, NAMES[5]], [*LABELS, "NV"]))
    assert f"several for 1: {NAMES[5]}" in refused(tmp_path)


def test_two_files_of_one_name(tmp_path):
    plain(tmp_path)
    picture(tmp_path / "images" / "more" / f"{NAMES[3]}.png", 9)
    assert f"several for 1: {NAMES[3]}" in refused(tmp_path)


def test_lesion_of_two_classes(tmp_path):
    plain(tmp_path, lesions=["HAM_0", *["HAM_0" if label == "MEL" else f"x{i}" for i, label in enumerate(LABELS)][1:]])
    assert "two or more for 1: HAM_0 (MEL, NV)" in refused(tmp_path)


def test_one_class_only(tmp_path):
    plain(tmp_path, labels=["NV"] * 24)
    assert "two classes or more, found NV alone in 24 images" in refused(tmp_path)


def test_class_with_fewer_lesions_than_splits(tmp_path):
    plain(tmp_path, labels=["VASC" if lesion in ("HAM_0", "HAM_1") else "NV" for lesion in LESIONS])
    assert "fewer in 1: VASC (2)" in refused(tmp_path)


def test_nothing_there(tmp_path):
    assert "nothing of that name" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "a folder with images" in refused(tmp_path / "empty")


def test_more_images_than_fit_in_memory(tmp_path):
    plain(tmp_path)
    assert "images that fit in memory" in refused(tmp_path, size=16384, train=10**6)


# ---------------------------------------------------------------- MedMNIST


def packed(path, counts=(12, 6, 8), shape=(28, 28, 3), **changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in zip(("train", "val", "test"), counts):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, *shape)).astype(np.uint8)
        arrays[f"{part}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 3
    np.savez(path, **{key: value for key, value in (arrays | changes).items() if value is not None})
    return arrays


@pytest.mark.parametrize("shape", [(28, 28, 3), (28, 28)])
def test_medmnist_keeps_its_splits(tmp_path, shape):
    arrays = packed(tmp_path / "dermamnist.npz", shape=shape)
    for root in (tmp_path, tmp_path / "dermamnist.npz"):
        made = open_data("lesion", root=str(root), size=16, train=9, valid=20, test=20)
        assert made.name == "dermamnist" and made.spec["classes"] == "0,1,2"
        assert [len(getattr(made, name)) for name in ("train", "valid", "test")] == [9, 6, 8]
        assert Counter(made.train.tensors["class"].tolist()) == {0: 3, 1: 3, 2: 3}
        assert made.train.tensors["image"].shape == (9, 3, 16, 16)
    item = made.test.table["case"].index("test-000004")
    given = arrays["test_images"][4] / 255
    given = given if given.ndim == 3 else np.repeat(given[..., None], 3, -1)
    assert torch.equal(made.test.tensors["image"][item], torch.from_numpy(squared(given, 16).transpose(2, 0, 1)))
    assert next(check("lesion", tmp_path, size=16)) == "train: 12 images of 0,1,2"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"val_images": None}, "no val_images"),
        ({"train_labels": np.zeros((12, 14), np.uint8)}, "train_labels (12, 14) for 12 images"),
        ({"train_labels": np.r_[np.nan, -1, 0.5, np.inf, np.zeros(8)]}, "others in 4: nan of image 0, -1 of image 1"),
        ({"test_images": np.zeros((8, 28, 28, 28), np.uint8)}, "choose a set in 2-D"),
        ({"test_images": np.zeros((8, 28, 28, 3), np.float32)}, "float32"),
        ({f"{part}_labels": np.zeros(n) for part, n in (("train", 12), ("val", 6), ("test", 8))}, "two classes"),
        ({"train_labels": np.array([None] * 12)}, "damaged"),
    ],
)
def test_medmnist_files_that_cannot_be(tmp_path, changes, words):
    packed(tmp_path / "set.npz", **changes)
    assert words in refused(tmp_path)


def test_damaged_and_several_archives(tmp_path):
    (tmp_path / "one.npz").write_bytes(b"PK\x03\x04 nothing")
    assert "one.npz" in refused(tmp_path)
    packed(tmp_path / "two.npz")
    assert "2: one.npz, two.npz" in refused(tmp_path)


# ---------------------------------------------------------------- real images


def test_real_lesions():
    root = Path(os.environ.get("WORKBENCH_DATA", "")) / "lesions"
    if not os.environ.get("WORKBENCH_DATA") or not root.is_dir():
        pytest.skip("WORKBENCH_DATA names no folder with lesions")
    made = open_data("lesion", root=str(root), size=16, train=60, valid=21, test=42)
    assert made.spec["classes"] == "AKIEC,BCC,BKL,DF,MEL,NV,VASC" and made.aside == []
    assert [len(getattr(made, name)) for name in ("train", "valid", "test")] == [60, 21, 42]
    groups = [set(getattr(made, name).table["group"]) for name in ("train", "valid", "test")]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert len(set(made.test.tensors["class"].tolist())) == 7
