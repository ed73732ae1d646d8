"""Fundus: eyes as two cameras show them, labels that are wrong on purpose, and folders of every layout."""

import functools
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from workbench import data, metrics
from workbench.data import fundus
from workbench.data.fundus import Options, corruption, folders, layouts, phantoms
from workbench.errors import InvalidImage, InvalidParameter

SMALL = Options(size=32, train=8, unlabelled=5, valid=4, test=3)
SPLITS = ("train", "valid", "test")


@functools.cache
def phantom(**changes):
    return fundus.phantom(Options(**{**vars(SMALL), **changes}))


@functools.cache
def usual():
    """Enough eyes of the usual size to measure something."""
    return fundus.phantom(Options(train=40, unlabelled=30, valid=8, test=30))


def disc_and_cup(size=64, disc=16.0, cup=8.0):
    """A label map with two circles of these radii about the centre."""
    distance = np.hypot(*(np.mgrid[:size, :size] - (size - 1) / 2))
    return ((distance <= disc).astype(np.int16) + (distance <= cup)).astype(np.int16)


def radius(mask):
    return math.sqrt(mask.sum() / math.pi)


def refused(call, *words, error=InvalidImage):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- corruption: one label


@pytest.mark.parametrize("step", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_both_outlines_of_circles_move_by_the_step(step, sign):
    label = disc_and_cup()
    moved = corruption.moved(label, sign * step)
    for value, before in ((1, 16.0), (2, 8.0)):
        assert radius(moved >= value) == pytest.approx(before + sign * step, abs=0.6)


def test_erosion_leaves_something_of_every_outline():
    label = disc_and_cup(disc=16, cup=3)
    moved = corruption.moved(label, -12)
    assert set(np.unique(moved)) == {0, 1, 2}
    assert radius(moved == 2) == pytest.approx(0.4 * 3, abs=0.8)


def test_signed_distance_is_that_of_a_half_plane():
    mask = np.zeros((4, 8), bool)
    mask[:, :3] = True
    assert corruption.signed_distance(mask)[0].tolist() == [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 4.5]


@given(st.integers(0, 10_000), st.sampled_from(corruption.KINDS), st.sampled_from([16, 32, 64]))
@settings(max_examples=150, deadline=None)
def test_a_corrupted_label_is_another_label_map(seed, kind, size):
    label = disc_and_cup(size, disc=0.25 * size, cup=0.12 * size)
    found = fundus.corrupt(label, kind, np.random.default_rng(seed))
    assert found.shape == label.shape and found.dtype == label.dtype
    assert set(np.unique(found)) <= {0, 1, 2} and (found == 2).any()
    assert not np.array_equal(found, label)
    assert np.array_equal(found, fundus.corrupt(label, kind, np.random.default_rng(seed)))
    if kind in ("dilation", "erosion"):
        small, large = (label, found) if kind == "dilation" else (found, label)
        for value in (1, 2):
            assert np.all((small >= value) <= (large >= value)), "grows or shrinks everywhere"
            assert (small >= value).sum() < (large >= value).sum()


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_severity_is_5_to_15_percent_of_the_diameter(seed):
    label = disc_and_cup(160, disc=50, cup=24)
    grown = fundus.corrupt(label, "dilation", np.random.default_rng(seed))
    assert 5 - 0.7 <= radius(grown > 0) - radius(label > 0) <= 15 + 0.7
    shifted = fundus.corrupt(label, "shift", np.random.default_rng(seed))
    far = np.linalg.norm(np.subtract(*(ndimage.center_of_mass(one > 0) for one in (shifted, label))))
    assert 10 - 1 <= far <= 30 + 1
    assert (shifted > 0).sum() == (label > 0).sum(), "nothing is lost within the image"


def test_swap_takes_cup_for_rim():
    found = fundus.corrupt(disc_and_cup(), "swap", np.random.default_rng(0))
    assert np.array_equal(found == 1, disc_and_cup() == 2) and np.array_equal(found == 2, disc_and_cup() == 1)


def test_warp_has_its_amplitude_and_does_not_tear():
    ramp = np.mgrid[:96, :96][0].astype(float)
    moved = corruption.warped(ramp, 3.0, 12.0, np.random.default_rng(0))  # nearest pixel: rows tell how far it went
    assert 1 < np.abs(moved - ramp)[20:-20, 20:-20].max() < 12
    found = fundus.corrupt(disc_and_cup(), "warp", np.random.default_rng(1))
    assert ndimage.label(found > 0)[1] == 1


# ---------------------------------------------------------------- corruption: which labels


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_exactly_the_share_is_corrupted(count, rho, bias, seed):
    kinds = corruption.plan(count, rho, bias, np.random.default_rng(seed))
    wrong = [kind for kind in kinds if kind]
    assert len(kinds) == count and len(wrong) == round(rho * count) and set(wrong) <= set(corruption.KINDS)
    assert wrong.count("dilation") >= math.floor(len(wrong) * bias)


@pytest.mark.parametrize(("bias", "dilated"), [(0.0, 20), (0.5, 60), (1.0, 100)])
def test_bias_is_the_share_that_is_dilated_beyond_the_rest(bias, dilated):
    kinds = corruption.plan(100, 1.0, bias, np.random.default_rng(0))
    assert kinds.count("dilation") == dilated
    others = {kind: kinds.count(kind) for kind in corruption.KINDS if kind != "dilation"}
    assert len(set(others.values())) == 1


def test_more_corruption_changes_no_label_that_was_corrupted_before():
    quarter, half = (phantom(train=16, rho=rho).train for rho in (0.25, 0.5))
    before = quarter.tensors["noisy"].bool()
    assert before.sum() == 4 and half.tensors["noisy"].sum() == 8
    assert half.tensors["noisy"][before].all()
    assert torch.equal(quarter.tensors["label"][before], half.tensors["label"][before])
    assert torch.equal(quarter.tensors["image"], half.tensors["image"])


# ---------------------------------------------------------------- phantom


@pytest.mark.parametrize("rho", [0.0, 0.25, 0.5, 1.0])
def test_flags_say_which_labels_are_wrong(rho):
    for part in (phantom(rho=rho).train, phantom(rho=rho).valid):
        wrong = (part.tensors["label"] != part.tensors["clean"]).flatten(1).any(1)
        assert wrong.sum() == round(rho * len(part))
        assert torch.equal(part.tensors["noisy"], wrong.float())
        assert [bool(kind) for kind in part.table["corruption"]] == wrong.tolist()


def test_the_noise_is_biased_outwards():
    part = fundus.phantom(Options(size=32, train=80, unlabelled=1, valid=1, test=1, rho=1.0)).train
    cup, true = ((part.tensors[key] == 2).flatten(1).sum(1).float() for key in ("label", "clean"))
    plain = torch.tensor([kind != "swap" for kind in part.table["corruption"]])
    assert (cup / true)[plain].mean() > 1.2


def test_cup_lies_within_the_disc_and_is_of_usual_size():
    for part in SPLITS:
        cases = getattr(usual(), part)
        label = cases.tensors["label" if part == "test" else "clean"][:, 0].numpy()
        assert set(np.unique(label)) == {0, 1, 2}
        for one in label:
            disc, cup = one > 0, one == 2
            assert not (ndimage.binary_dilation(cup) & ~disc).any(), "a rim all around"
            assert ndimage.label(disc)[1] == ndimage.label(cup)[1] == 1
            heights = [mask.sum(0).max() for mask in (disc, cup)]
            assert 0.3 <= heights[0] / 64 <= 0.55 and 0.28 <= heights[1] / heights[0] <= 0.82
            assert not disc[[0, -1]].any() and not disc[:, [0, -1]].any()


def without_vessels(monkeypatch, camera, count=60):
    """Eyes in which no vessel hides the cup, and the median green of retina, rim and cup of each, (count, 3)."""
    monkeypatch.setattr(phantoms, "vessels", lambda rng, image, disc, cup, nasal: image)
    eyes = [phantoms.eye(np.random.default_rng(seed), 64, camera, "x") for seed in range(count)]
    return eyes, np.array([[np.median(one.image[..., 1][one.label == v]) for v in range(3)] for one in eyes])


@pytest.mark.parametrize("camera", [phantoms.SOURCE, phantoms.TARGET])
def test_disc_is_paler_than_retina_and_cup_than_rim(monkeypatch, camera):
    _, green = without_vessels(monkeypatch, camera)
    assert (np.diff(green, axis=1) > 0).all()
    assert np.diff(green, axis=1).mean(0).min() > 10


def test_the_two_cameras_differ():
    source, target = (usual().train.__getitems__(range(30))[key] for key in ("image", "target"))
    test = usual().test.__getitems__(range(30))["image"]
    warmth = [(one[:, 0] - one[:, 2]).mean((1, 2)) for one in (source, target, test)]  # red less blue
    assert warmth[0].min() > warmth[1].max() and warmth[0].min() > warmth[2].max()
    assert (warmth[1].mean() - warmth[2].mean()).abs() < 0.2 * (warmth[0].mean() - warmth[1].mean())


def test_the_contrast_of_the_cup_follows_another_law(monkeypatch):
    slopes = []
    for camera in (phantoms.SOURCE, phantoms.TARGET):
        eyes, green = without_vessels(monkeypatch, camera)
        ratio = [(one.label == 2).sum(0).max() / (one.label >= 1).sum(0).max() for one in eyes]
        slopes.append(np.corrcoef(ratio, green[:, 2] / green[:, 1])[0, 1])
    assert slopes[0] > 0.4, "wide cups are paler to the source camera"
    assert slopes[1] < -0.2, "and darker to the target's"


def test_an_edge_is_as_soft_as_said():
    """On a circle the step from 1/2 (1 - tanh 1) to 1/2 (1 + tanh 1), 12 to 88 %, is one width long."""
    circle = phantoms.Outline(np.array([0.5, 0.5]), np.array([0.3, 0.3]), np.zeros((3, 2)))
    x = np.linspace(0.5, 1, 5001)
    step = circle.inside(np.full_like(x, 0.5), x, 0.06)
    low, high = 0.5 * (1 - math.tanh(1)), 0.5 * (1 + math.tanh(1))
    assert ((step > low) & (step < high)).mean() * 0.5 == pytest.approx(0.06, rel=0.01)
    assert step[np.argmin(np.abs(x - 0.8))] == pytest.approx(0.5, abs=0.01)


def test_vessels_are_dark_and_cross_the_disc():
    rng = np.random.default_rng(0)
    disc, cup, _ = phantoms.outlines(rng)
    plain = np.full((128, 128, 3), 0.6)
    drawn = plain - phantoms.vessels(rng, plain, disc, cup, 1)
    dark = drawn[..., 1] > 0.15
    y, x = (np.mgrid[:128, :128] + 0.5) / 128
    assert 0.05 < dark.mean() < 0.4
    edge = np.abs(disc.level(y, x) - 1) < 0.05
    assert ndimage.label(dark & edge)[1] >= 3, "several vessels cross the edge of the disc"
    assert dark[0].any() and dark[-1].any(), "arcades run out of the picture above and below"


def test_a_vessel_bends_where_it_leaves_the_cup():
    cup = phantoms.Outline(np.array([0.5, 0.5]), np.array([0.2, 0.2]), np.zeros((3, 2)))
    rng = np.random.default_rng(3)
    within, free = (phantoms.path(np.random.default_rng(3), np.array([0.5, 0.5]), 0.0, 0, c) for c in (cup, None))
    kink = rng.uniform(-0.7, 0.7)
    angles = [np.unwrap(np.arctan2(*np.diff(points, axis=0).T)) for points in (within, free)]
    inside = np.linalg.norm(within[:-1] - 0.5, axis=1) < 0.2
    np.testing.assert_allclose((angles[0] - angles[1])[inside], kink, atol=1e-9)
    np.testing.assert_allclose((angles[0] - angles[1])[~inside], 0, atol=1e-9)


def test_averaging_blocks_by_hand():
    image = np.arange(16.0).reshape(4, 4)
    assert phantoms.averaged(image, 2).tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_phantoms_follow_their_seed():
    assert phantom().fingerprint == fundus.phantom(SMALL).fingerprint
    assert phantom().fingerprint != phantom(data_seed=1).fingerprint
    assert phantom().fingerprint != phantom(rho=0.25).fingerprint
    more = phantom(train=12)
    assert torch.equal(more.train.tensors["image"][:8], phantom().train.tensors["image"])
    for part in ("valid", "test"):
        for key, tensor in getattr(phantom(), part).tensors.items():
            assert torch.equal(getattr(more, part).tensors[key], tensor)


def test_no_subject_and_no_image_is_in_two_splits():
    made = phantom()
    groups = [set(getattr(made, part).table["group"]) for part in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 8 + 4 + 3
    images = [image.numpy().tobytes() for part in SPLITS for image in getattr(made, part).tensors["image"]]
    images += {image.numpy().tobytes() for image in made.train.tensors["target"]}
    assert len(set(images)) == len(images) == 8 + 4 + 3 + 5


def test_target_images_come_in_turn():
    found = [image.numpy().tobytes() for image in phantom(train=12).train.tensors["target"]]
    assert sorted(found.count(image) for image in set(found)) == [2, 2, 2, 3, 3]
    fewer = phantom(train=3).train
    assert fewer.tensors["target"].shape == (3, 3, 32, 32), "as many as there are training items"


def shapes(cases):
    return {key: tuple(value.shape) for key, value in cases.__getitems__(range(len(cases))).items()}


def test_batches_hold_what_is_promised_and_no_label_of_the_target_before_the_test():
    made = phantom()
    image, label = (3, 32, 32), (1, 32, 32)
    own = {"image": image, "label": label, "clean": label, "noisy": (), "spacing": (2,)}
    assert shapes(made.train) == {key: (8, *shape) for key, shape in (own | {"target": image}).items()}
    assert shapes(made.valid) == {key: (4, *shape) for key, shape in own.items()}
    assert shapes(made.test) == {"image": (3, *image), "label": (3, *label), "spacing": (3, 2)}
    batch = made.train.__getitems__([0, 3])
    assert batch["label"].dtype == batch["clean"].dtype == torch.int16
    assert batch["image"].dtype == torch.float32 and batch["image"].min() >= 0 and 0.5 < batch["image"].max() <= 1
    assert set(batch["label"].unique().tolist()) == {0, 1, 2}
    assert made.shown == ("image", "label", "spacing") and made.labels == {"cup": (2,), "disc": (1, 2)}
    assert made.spec == {"size": 32, "channels": 3, "classes": "disc,cup", "tau": 0.5}
    assert (made.name, phantom(rho=0.25).name) == ("phantom-rho0.5", "phantom-rho0.25")
    assert phantom(rho=0.0).spec["tau"] == 0
    for part in SPLITS:
        cases = getattr(made, part)
        assert all(len(column) == len(cases) for column in cases.table.values())


def test_valid_is_of_the_source_camera():
    warmth = [(one.float()[:, 0] - one.float()[:, 2]).mean() for one in (
        usual().train.tensors["image"], usual().valid.tensors["image"], usual().test.tensors["image"])]  # fmt: skip
    assert abs(warmth[1] - warmth[0]) < abs(warmth[1] - warmth[2]) / 4


def test_corruption_costs_what_it_should():
    """How wrong the labels are: an oracle that copies them would score this."""
    part = usual().train
    found = metrics.segmentation({"label": part.tensors["clean"], "spacing": part.tensors["spacing"]},
                                 {"mask": part.tensors["label"]}, fundus.LABELS)  # fmt: skip
    wrong = part.tensors["noisy"].bool()
    assert (found["dice"][~wrong] == 1).all()
    assert found["dice_cup"][wrong].max() < 1 and 0.3 < found["dice_cup"][wrong].mean() < 0.75


@pytest.mark.parametrize("changes", [{"rho": 1.5}, {"bias": -0.1}, {"unlabelled": 0}, {"size": 40}, {"roi": 2.0}])
def test_options_are_checked(changes):
    with pytest.raises(InvalidParameter):
        data.open_data("fundus", **changes)


def test_opened_by_name():
    made = data.open_data("fundus", size=32, train=8, valid=2, test=3)
    assert [len(getattr(made, part)) for part in SPLITS] == [8, 2, 3]


# ---------------------------------------------------------------- folders


def photograph(seed=0, shape=(120, 132)):
    """(H, W, 3) uint8 with a round field on black and a bright disc in it, and its label map."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    cy, cx = np.array(shape) / 2 + rng.uniform(-20, 20, 2)
    distance = np.hypot(y - cy, x - cx)
    image = np.array([0.6, 0.3, 0.15]) * (0.7 + 0.6 * x[..., None] / shape[1])
    image = np.where(distance[..., None] < 9, [0.9, 0.7, 0.4], image)
    image = np.where(distance[..., None] < 4.5, [1.0, 0.9, 0.7], image)
    image[np.hypot(y - shape[0] / 2, x - shape[1] / 2) > 0.48 * shape[0]] = 0
    label = (distance < 9).astype(np.uint8) + (distance < 4.5)
    return np.round(255 * image.clip(0, 1)).astype(np.uint8), label.astype(np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


CODED = np.array([255, 128, 0], np.uint8)  # of background, rim, cup


def training400(root, count=8):
    for n in range(count):
        image, label = photograph(n)
        kind, name = ("Glaucoma", f"g{n:04d}") if n % 2 else ("Non-Glaucoma", f"n{n:04d}")
        save(root / "Training400" / kind / f"{name}.jpg", image)
        save(root / "Annotation-Training400" / "Disc_Cup_Masks" / kind / f"{name}.bmp", CODED[label])


def validation400(root, count=8):
    for n in range(count):
        image, label = photograph(100 + n)
        save(root / "REFUGE-Validation400" / f"V{n:04d}.jpg", image)
        save(root / "REFUGE-Validation400-GT" / "Disc_Cup_Masks" / f"V{n:04d}.bmp", CODED[label])


def drishti(root, count=6):
    base = root / "Drishti-GS1_files" / "Drishti-GS1_files"
    for n in range(count):
        image, label = photograph(200 + n)
        part, truth = ("Training", "GT") if n < count // 2 else ("Test", "Test_GT")
        name = f"drishtiGS_{n:03d}"
        save(base / part / "Images" / f"{name}.png", image)
        for value, kind in ((1, "OD"), (2, "cup")):
            soft = np.round(ndimage.uniform_filter(255.0 * (label >= value), 3)).astype(np.uint8)
            save(base / part / truth / name / "SoftMap" / f"{name}_{kind}segSoftmap.png", soft)
        (base / part / truth / name / "AvgBoundary").mkdir()


def crops(root, name="REFUGE", count=8, **parts):
    for part, number in (parts or {"train": count // 2, "test": count // 2}).items():
        for n in range(number):
            image, label = photograph(300 + 20 * (2 * ord(name[0]) + len(part)) + n, (64, 64))
            save(root / name / part / "image" / f"{n}.png", image)
            save(root / name / part / "mask" / f"{n}.png", np.array([240, 130, 20], np.uint8)[label])


def load(root, source, target, **changes):
    wanted = {
        "size": 32,
        "train": 4,
        "unlabelled": 4,
        "valid": 2,
        "test": 4,
        "source_set": source,
        "target_set": target,
    }
    return fundus.load(root, Options(**wanted | changes))


def counts(made):
    return [len(getattr(made, part)) for part in SPLITS]


def refuge(root):
    training400(root)
    validation400(root)
    return "Training400", "REFUGE-Validation400"


def test_refuge(tmp_path):
    made = load(tmp_path, *refuge(tmp_path))
    assert counts(made) == [4, 2, 4] and made.aside == []
    assert made.name == "Training400-to-REFUGE-Validation400-rho0.5"
    assert made.train.tensors["noisy"].sum() == 2 and made.valid.tensors["noisy"].sum() == 1
    assert shapes(made.train)["target"] == (4, 3, 32, 32)
    for label in (made.train.tensors["clean"], made.test.tensors["label"]):
        for one in label[:, 0].numpy():
            assert radius(one > 0) == pytest.approx(9 * 32 / 40, abs=0.4)  # the crop is a third of 120 pixels
            assert radius(one == 2) == pytest.approx(4.5 * 32 / 40, abs=0.4)
            assert max(abs(c - 15.5) for c in ndimage.center_of_mass(one > 0)) < 3, "the disc is in the middle"


def test_label_lies_on_its_image(tmp_path):
    made = load(tmp_path, *refuge(tmp_path), rho=0.0)
    for part in SPLITS:
        tensors = getattr(made, part).tensors
        green, label = tensors["image"][:, 1].float(), tensors["label"][:, 0]
        levels = [green[label == value].median() for value in range(3)]
        assert levels[0] < 120 < levels[1] < 200 < levels[2]


def test_refuge_unpacked_with_doubled_folders(tmp_path):
    training400(tmp_path / "REFUGE-Training400")
    (tmp_path / "Annotation-Training400").mkdir()
    (tmp_path / "REFUGE-Training400" / "Annotation-Training400").rename(
        tmp_path / "Annotation-Training400" / "Annotation-Training400"
    )
    validation400(tmp_path / "here")
    assert counts(load(tmp_path, "Training400", "REFUGE-Validation400")) == [4, 2, 4]


def test_drishti_keeps_its_parts(tmp_path):
    training400(tmp_path)
    drishti(tmp_path)
    made = load(tmp_path, "Training400", "Drishti-GS", unlabelled=9, test=9)
    assert counts(made) == [4, 2, 3]
    expected = set()
    for path in sorted((tmp_path / "Drishti-GS1_files/Drishti-GS1_files/Test/Images").iterdir()):
        photo = next(p for p in layouts.find(tmp_path)["Drishti-GS"].photos if p.image == path)
        expected.add(folders.eye_of(photo, "x", tmp_path, Options(size=32), labelled=True).case)
    assert set(made.test.table["case"]) == expected
    for one in made.test.tensors["label"][:, 0].numpy():
        assert radius(one > 0) == pytest.approx(9 * 32 / 40, abs=0.5)


def test_soft_maps_count_where_more_than_half_of_the_experts_agree(tmp_path):
    drishti(tmp_path)
    photo = layouts.find(tmp_path)["Drishti-GS"].photos[0]
    for path, values in zip(photo.masks, ([0, 64, 127, 128, 191, 255], [0, 0, 0, 0, 127, 128]), strict=True):
        save(path, np.array([values], np.uint8))
    assert layouts.read_label(photo, (1, 6)).tolist() == [[0, 0, 0, 1, 1, 2]]


def test_ready_crops_keep_their_parts_and_are_not_cropped_again(tmp_path):
    crops(tmp_path, "A", train=5, test=3)
    crops(tmp_path, "B", train=4, test=4)
    made = load(tmp_path, "A", "B", size=64, train=9, valid=9)
    assert counts(made) == [5, 3, 4]
    stored = {np.asarray(Image.open(path)).tobytes() for path in (tmp_path / "A/train/image").iterdir()}
    assert {image.permute(1, 2, 0).numpy().tobytes() for image in made.train.tensors["image"]} == stored


def test_values_of_ready_crops():
    mask = np.array([[0, 50, 51, 200, 201, 255]])
    assert layouts.ranged(mask, "m").tolist() == [[2, 2, 1, 1, 0, 0]]


def test_masks_of_the_target_are_not_opened_for_training(tmp_path):
    crops(tmp_path, "A")
    crops(tmp_path, "B", train=4, test=4)
    for path in (tmp_path / "B/train/mask").iterdir():
        path.write_bytes(b"no picture")
    made = load(tmp_path, "A", "B")
    assert made.aside == [] and counts(made)[2] == 4
    for path in (tmp_path / "B/train/mask").iterdir():
        path.unlink()
    assert load(tmp_path, "A", "B").fingerprint == made.fingerprint


def test_which_is_source_and_which_target_is_recorded(tmp_path):
    crops(tmp_path, "A")
    crops(tmp_path, "B")
    there, back = load(tmp_path, "A", "B"), load(tmp_path, "B", "A")
    assert (there.name, back.name) == ("A-to-B-rho0.5", "B-to-A-rho0.5")
    assert there.fingerprint != back.fingerprint and there.fingerprint == load(tmp_path, "A", "B").fingerprint


def test_patients_stay_together_also_across_cameras(tmp_path):
    source, target = refuge(tmp_path)
    rows = ["image,patient"]
    for found in layouts.find(tmp_path).values():
        for n, photo in enumerate(found.photos):
            same = "p0" if n == 0 else f"{photo.image.stem[0]}{n // 2}"  # p0 was photographed by both cameras
            rows.append(f"{photo.image.relative_to(tmp_path)},{same}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    made = load(tmp_path, source, target, train=9, valid=9, unlabelled=9, test=9)
    groups = [set(getattr(made, part).table["group"]) for part in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert not any("p0" in text for part in SPLITS for text in str(getattr(made, part).table).split())
    assert len(made.train) + len(made.valid) == 7, "the one of both cameras is the target's"
    (tmp_path / "labels.csv").write_text("\n".join(rows[:-2]))
    refused(lambda: load(tmp_path, source, target), "labels.csv", "V0006.jpg, V0007.jpg")


def test_nothing_identifying_leaves_the_loader(tmp_path):
    made = load(tmp_path, *refuge(tmp_path))
    tables = str([getattr(made, part).table for part in SPLITS])
    assert not re.search(r"[gnV]000|Glaucoma|Training400", tables)
    assert all(re.fullmatch(r"[0-9a-f]{10}", case) for part in SPLITS for case in getattr(made, part).table["case"])


# ---------------------------------------------------------------- the crop


@pytest.mark.parametrize("seed", range(6))
def test_the_crop_finds_the_disc_without_a_label(seed):
    image, label = photograph(seed)
    top, left, side = folders.window(image, 1 / 3)
    assert side == 40
    center = np.array(ndimage.center_of_mass(label > 0))
    assert np.abs(center - (top + 19.5, left + 19.5)).max() < 4


def test_the_crop_stays_inside_the_image():
    image = np.full((60, 90, 3), 60, np.uint8)
    image[4:12, 78:88] = 250
    top, left, side = folders.window(image, 0.5)
    assert (top, left, side) == (0, 60, 30)
    assert folders.window(image, 1.0) == (0, 15, 60)


def test_a_real_photograph():
    retina = pytest.importorskip("skimage.data").retina()  # its disc is at 655, 210, read off the picture
    top, left, side = folders.window(retina, 1 / 3)
    assert abs(top + side / 2 - 655) < 60 and abs(left + side / 2 - 210) < 60


# ---------------------------------------------------------------- bad input


def masks_of(root):
    return sorted((root / "Annotation-Training400").rglob("*.bmp"))


def broken(name, path):
    """One mask spoilt in a named way."""
    mask = np.array(Image.open(path))
    if name == "size":
        save(path, mask[:-1])
    elif name == "values":
        mask[0, :3] = 7, 7, 99
        save(path, mask)
    elif name == "empty":
        save(path, np.full_like(mask, 255))
    elif name == "no cup":
        save(path, np.where(mask == 0, 128, mask).astype(np.uint8))
    elif name == "no background":
        save(path, np.where(mask == 255, 128, mask).astype(np.uint8))
    elif name == "cut":
        path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("size", ("a mask of 120 x 132 pixels", "119 x 132")),
        ("values", ("0 (cup), 128 (rim) and 255 (background)", "7 in 2 pixels, 99 in 1 pixels")),
        ("empty", ("a disc", "an empty mask")),
        ("no cup", ("background, rim and cup", "only background and rim")),
        ("no background", ("background, rim and cup", "only rim and cup")),
        ("cut", ("damaged or incomplete",)),
    ],
)
def test_a_bad_mask_is_set_aside_with_the_reason(tmp_path, name, words):
    sets = refuge(tmp_path)
    bad = masks_of(tmp_path)[3]
    broken(name, bad)
    made = load(tmp_path, *sets, train=20, valid=1)
    assert len(made.train) + len(made.valid) == 7
    ((file, reason),) = made.aside
    assert file == f"{bad.stem}.jpg" and all(word in reason for word in words), reason
    assert "\n" not in reason and str(tmp_path) not in reason
    for path in masks_of(tmp_path):
        if path != bad:
            broken(name, path)
    refused(lambda: load(tmp_path, *sets), "one that can be used", words[0])


def test_values_of_a_crop_that_fit_in_no_byte(tmp_path):
    crops(tmp_path, "A")
    crops(tmp_path, "B")
    path = tmp_path / "A/train/mask/1.png"
    save(path, np.array(Image.open(path)).astype(np.uint16) * 100)
    ((_, reason),) = load(tmp_path, "A", "B", train=4).aside
    assert "values from 0 to 255" in reason and "13000 in" in reason and "24000 in" in reason


def test_a_cut_or_grey_image_is_set_aside(tmp_path):
    sets = refuge(tmp_path)
    images = sorted((tmp_path / "Training400").rglob("*.jpg"))
    images[0].write_bytes(images[0].read_bytes()[:400])
    save(images[1], np.full((120, 132), 90, np.uint8))
    reasons = dict(load(tmp_path, *sets, train=20, valid=20).aside)
    assert set(reasons) == {images[0].name, images[1].name} and "a grey image" in reasons[images[1].name]


def test_a_disc_outside_the_crop_is_set_aside(tmp_path):
    sets = refuge(tmp_path)
    path = sorted((tmp_path / "Training400").rglob("*.jpg"))[0]
    image, label = photograph(0)
    image[label > 0] = 70, 35, 20
    image[50:60, 20:30] = 255  # a bright patch elsewhere
    save(path, image)
    mask = masks_of(tmp_path)[0]
    place = np.full(label.shape, 255, np.uint8)
    place[58:70, 105:117], place[62:66, 109:113] = 128, 0
    save(mask, place)
    ((name, reason),) = load(tmp_path, *sets, train=20, valid=20).aside
    assert name == path.name and "the disc inside the crop" in reason


def test_missing_pairs_are_named_all_at_once(tmp_path):
    sets = refuge(tmp_path)
    gone = masks_of(tmp_path)[:2]
    for path in gone:
        path.unlink()
    lonely = tmp_path / "REFUGE-Validation400" / "V0003.jpg"
    lonely.unlink()
    words = [f"Training400/{path.stem}.jpg has no mask" for path in gone]
    refused(lambda: load(tmp_path, *sets), *words, "V0003.bmp of REFUGE-Validation400 has no image")


def test_sets_must_be_chosen(tmp_path):
    source, target = refuge(tmp_path)
    for names, words in (
        (("", target), ("source_set", "REFUGE-Validation400, Training400", "give source_set=")),
        ((source, ""), ("target_set", "none")),
        ((source, "REFUGE-Validation40"), ("target_set", "did you mean REFUGE-Validation400?")),
        ((source, source), ("another set than source_set",)),
    ):
        refused(lambda names=names: load(tmp_path, *names), *words, error=InvalidParameter)


def test_folders_without_a_layout(tmp_path):
    save(tmp_path / "here" / "a.png", photograph()[0])
    refused(lambda: load(tmp_path / "here", "A", "B"), "REFUGE", "Drishti-GS", "none of these")
    refused(lambda: load(tmp_path / "nowhere", "A", "B"), "nowhere", "a folder")


def test_too_few_subjects(tmp_path):
    training400(tmp_path, count=1)
    validation400(tmp_path)
    refused(lambda: load(tmp_path, "Training400", "REFUGE-Validation400"), "different subjects for train and valid")


# ---------------------------------------------------------------- check


def test_check_tells_what_load_does(tmp_path):
    source, target = refuge(tmp_path)
    broken("values", masks_of(tmp_path)[0])
    chosen = Options(size=32, train=4, unlabelled=2, valid=2, test=2, source_set=source, target_set=target)
    lines = list(fundus.check(tmp_path, chosen))
    made = fundus.load(tmp_path, chosen)
    assert lines[0] == "Training400: 8 images, 8 with a mask, 0 masks without image"
    for part in SPLITS:
        for case in getattr(made, part).table["case"]:
            assert sum(line.startswith(f"{case}  {part}") for line in lines) == 1
    assert sum("unlabelled" in line for line in lines) == 2
    bad = len(made.aside)
    assert lines[-1] == f"10 images can be used, {bad} are set aside, {6 - bad} are not asked for"


def test_check_of_sets_that_are_not_chosen_opens_everything(tmp_path):
    refuge(tmp_path)
    broken("empty", masks_of(tmp_path)[0])
    lines = list(fundus.check(tmp_path))
    bad = masks_of(tmp_path)[0].stem
    assert any(line.startswith(f"set aside: Training400/{bad}.jpg") and "an empty mask" in line for line in lines)
    assert sum(line.startswith("set aside") for line in lines) == 1
    assert lines[-1] == "choose the cameras: source_set and target_set, each one of REFUGE-Validation400, Training400"
