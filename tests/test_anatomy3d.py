"""One atlas, many subjects: maps that are known exactly, and folders of every layout, orientation and fault."""

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
from scipy import ndimage

from workbench import data
from workbench.data import anatomy3d
from workbench.data.anatomy3d import Options, folders, layouts, phantoms, structures, volumes
from workbench.data.anatomy3d.subjects import Subject, nearest_to_mean, scaled
from workbench.data.io.kind import hashed
from workbench.errors import InvalidParameter, WorkbenchError

SPLITS = ("train", "valid", "test")
REAL = Path(os.environ.get("WORKBENCH_DATA", "missing"))
FEW = {"train": 3, "valid": 1, "test": 2}


@functools.cache
def phantom(**changes):
    return anatomy3d.phantom(Options(**{"size": 32, "train": 4, "valid": 2, "test": 3} | changes))


@functools.cache
def wave(seed, dims):
    return phantoms.velocity(np.random.default_rng(seed), dims)


def array(tensor):
    return tensor.numpy()[0] if tensor.shape[0] == 1 else tensor.numpy()


def warped(volume, flow, order):
    """volume(x + flow(x)), by SciPy."""
    return ndimage.map_coordinates(volume, phantoms.voxels(volume.shape) + flow, order=order, mode="nearest")


def dice(one, other, value):
    return 2 * ((one == value) & (other == value)).sum() / ((one == value).sum() + (other == value).sum())


# ---------------------------------------------------------------- phantom: what a batch holds


@pytest.mark.parametrize("dims", [2, 3])
def test_batches_hold_what_is_promised(dims):
    source = phantom(dims=dims, size=16, train=2, valid=1, test=2)
    sides = (16,) * dims
    for name in SPLITS:
        batch = getattr(source, name).__getitems__([0])
        for key in ("image", "atlas"):
            assert batch[key].shape == (1, 1, *sides) and batch[key].dtype == torch.float32
            assert batch[key].min() >= 0 and 0.5 < batch[key].max() <= 1
        for key in ("label", "atlas_label"):
            assert batch[key].shape == (1, 1, *sides) and batch[key].dtype == torch.int16
            assert set(batch[key].unique().tolist()) <= set(range(6))
        assert torch.equal(batch["spacing"], torch.ones(1, dims))
        assert ("flow" in batch) == (name == "test")
    assert source.test.tensors["flow"].shape == (2, dims, *sides)
    assert source.spec == {"size": 16, "dims": dims, "classes": "cortex,white,ventricle,left,right", "channels": 1}
    assert source.labels == {"cortex": (1,), "white": (2,), "ventricle": (3,), "left": (4,), "right": (5,)}
    assert source.name == {2: "phantom", 3: "phantom3d"}[dims] and source.shown == ("image", "label", "spacing")


def test_defaults_are_the_tiny_preset_and_sides_follow_the_dimensions():
    assert (Options().train, Options().valid, Options().test, Options().dims, Options().side) == (20, 4, 8, 2, 64)
    assert Options(dims=3).side == 32 and Options(dims=3, size=48).side == 48
    with pytest.raises(InvalidParameter, match="dims"):
        Options(dims=4)


def test_the_kind_is_found_and_takes_the_common_options():
    source = data.open_data("anatomy3d", size=32, train=8, valid=2, test=3)
    assert "anatomy3d" in data.kinds()
    assert [len(getattr(source, name)) for name in SPLITS] == [8, 2, 3]


def test_the_atlas_is_held_once_and_is_the_same_for_all():
    for name in SPLITS:
        part = getattr(phantom(), name)
        for key in ("atlas", "atlas_label"):
            tensor = part.tensors[key]
            assert tensor.stride(0) == 0
            assert tensor.untyped_storage().nbytes() == tensor[0].numel() * tensor.element_size()
            assert torch.equal(tensor[0], phantom().train.tensors[key][0])


def test_the_atlas_is_nearest_to_the_mean_and_not_among_the_subjects():
    options = Options(size=32, train=4, valid=2, test=3)
    rngs = [np.random.default_rng([0, 0, item]) for item in range(5)]
    brains = [phantoms.brain(rng, phantoms.velocity(rng, 2), options, f"{n}") for n, rng in enumerate(rngs)]
    images = np.stack([one.image for one in brains]).astype(float)
    chosen = int(np.argmin(((images - images.mean(0)) ** 2).sum((1, 2))))
    atlas = phantom().train.tensors["atlas"][0, 0].numpy()
    assert np.array_equal(atlas, brains[chosen].image)
    assert phantom().train.table["case"] == [f"train-{n:04d}" for n in range(5) if n != chosen]


def test_no_two_subjects_are_alike_and_the_seed_decides():
    images = torch.cat([getattr(phantom(), name).tensors["image"] for name in SPLITS]).flatten(1)
    assert len(images.unique(dim=0)) == len(images)
    groups = [set(getattr(phantom(), name).table["group"]) for name in SPLITS]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    again = anatomy3d.phantom(Options(size=32, train=4, valid=2, test=3))
    assert again.fingerprint == phantom().fingerprint != phantom(data_seed=1).fingerprint
    more = phantom(train=5)
    assert torch.equal(more.test.tensors["image"], phantom().test.tensors["image"]), "test does not depend on train"


# ---------------------------------------------------------------- phantom: maps


@pytest.mark.parametrize("dims", [2, 3])
def test_the_true_map_carries_the_atlas_to_the_subject(dims):
    source = phantom(dims=dims, train=3, valid=1, test=3)
    test = {key: tensor.numpy() for key, tensor in source.test.tensors.items()}
    for item in range(3):
        flow, label, atlas = test["flow"][item], test["label"][item, 0], test["atlas_label"][item, 0]
        moved = warped(atlas, flow, order=0)
        structure = ndimage.generate_binary_structure(dims, dims)
        edges = ndimage.grey_dilation(label, footprint=structure) != ndimage.grey_erosion(label, footprint=structure)
        assert np.array_equal(moved[~edges], label[~edges]), "all but the boundary voxels"
        worst, before = (min(dice(one, label, value) for value in range(1, 6)) for one in (moved, atlas))
        assert worst > (0.8 if dims == 2 else 0.7) and worst > before + 0.15
        image, moved = test["image"][item, 0], warped(test["atlas"][item, 0].astype(float), flow, order=1)
        assert np.corrcoef(image.ravel(), moved.ravel())[0, 1] > 0.97


def test_the_true_map_in_the_wrong_direction_does_not():
    test = {key: tensor.numpy() for key, tensor in phantom().test.tensors.items()}
    for item in range(3):
        moved = warped(test["atlas_label"][item, 0], -test["flow"][item], order=0)
        assert np.mean(moved != test["label"][item, 0]) > 3 * np.mean(
            warped(test["atlas_label"][item, 0], test["flow"][item], order=0) != test["label"][item, 0]
        )


@pytest.mark.parametrize("dims", [2, 3])
def test_flow_solves_the_composition_of_the_two_maps(dims):
    """phi_atlas(x + D(x)) = phi_subject(x), with phi_atlas interpolated from its own grid: an independent way."""
    sides = (64,) * dims if dims == 2 else (32,) * dims
    subject, atlas = (phantoms.through(np.zeros((dims, *sides)), wave(seed, dims)) for seed in (1, 2))
    flow = phantoms.through(subject, -wave(2, dims))
    there = phantoms.voxels(sides) + flow
    carried = np.stack([ndimage.map_coordinates(part, there, order=3, mode="nearest") for part in atlas])
    assert np.linalg.norm(there + carried - phantoms.voxels(sides) - subject, axis=0).max() < 0.1


@pytest.mark.parametrize("dims", [2, 3])
def test_the_inverse_undoes_the_map_to_a_hundredth_of_a_voxel(dims):
    sides = (64,) * dims if dims == 2 else (32,) * dims
    for seed in range(4 if dims == 2 else 2):
        forth = phantoms.through(np.zeros((dims, *sides)), wave(seed, dims))
        assert np.linalg.norm(phantoms.through(forth, -wave(seed, dims)), axis=0).max() < 0.01


def test_a_single_wave_has_a_closed_form():
    """dx/dt = a sin(pi x) gives tan(pi x / 2) -> tan(pi x / 2) exp(a pi); the other axis stays."""
    strength = np.zeros((2, 4, 4))
    strength[0, 0, 0] = 0.1
    moved = phantoms.through(np.zeros((2, 33, 33)), strength)
    x = np.arange(33) / 32
    exact = np.arctan(np.tan(np.pi * x / 2) * np.exp(0.1 * np.pi)) * 2 / np.pi
    exact[-1] = 1
    np.testing.assert_allclose(moved[0], np.repeat(32 * (exact - x)[:, None], 33, 1), atol=2e-3)
    assert np.abs(moved[1]).max() < 1e-12


@pytest.mark.parametrize("dims", [2, 3])
def test_maps_do_not_fold_nor_leave_the_image_and_are_as_long_as_said(dims):
    side = {2: 64, 3: 32}[dims]
    for seed in range(8 if dims == 2 else 2):
        forth = phantoms.through(np.zeros((dims, *(side,) * dims)), wave(seed, dims))
        assert phantoms.jacobian(forth).min() > 0.1
        assert 5.9 <= np.linalg.norm(forth, axis=0).max() * 64 / side <= 8.3
        ends = forth + phantoms.voxels((side,) * dims)
        assert ends.min() > -1e-9 and ends.max() < side - 1 + 1e-9
    flows = phantom(dims=dims).test.tensors["flow"].numpy()
    assert min(phantoms.jacobian(flow).min() for flow in flows) > 0
    assert np.linalg.norm(flows, axis=1).max() > 1


def test_jacobian_of_known_maps():
    y, x = phantoms.voxels((8, 8))
    assert np.allclose(phantoms.jacobian(np.stack([0.5 * y, 0 * x])), 1.5)
    assert np.allclose(phantoms.jacobian(np.stack([0.25 * x, -0.25 * y])), 1 + 0.25**2), "a turn with a stretch"
    assert np.allclose(phantoms.jacobian(np.stack([-2 * y, 0 * x])), -1), "a fold"
    z = phantoms.voxels((4, 5, 6))
    assert np.allclose(phantoms.jacobian(np.stack([z[0], 0 * z[1], 0.5 * z[2]])), 3)


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_waves_are_cosines_and_sines(seed, dims):
    rng = np.random.default_rng(seed)
    at, amplitudes = rng.random((dims, 5)), rng.standard_normal((3,) * dims)
    cosines, sines = phantoms.half_waves(at, 3)
    k = np.arange(3)[:, None]
    for axis in range(dims):
        np.testing.assert_allclose(cosines[axis], np.cos(np.pi * k * at[axis]), atol=1e-12)
        np.testing.assert_allclose(sines[axis], np.sin(np.pi * (k + 1) * at[axis]), atol=1e-12)
    slow = [
        sum(
            a * np.prod([np.cos(np.pi * n * x) for n, x in zip(index, point)])
            for index, a in np.ndenumerate(amplitudes)
        )
        for point in at.T
    ]
    np.testing.assert_allclose(phantoms.contracted(amplitudes, cosines), slow, atol=1e-12)


# ---------------------------------------------------------------- phantom: the brain


@pytest.mark.parametrize("dims", [2, 3])
def test_the_template_holds_nested_and_side_structures(dims):
    options = Options(dims=dims)
    grey, label = phantoms.template(phantoms.voxels((options.side,) * dims), options)
    assert set(np.unique(label)) == set(range(6))
    assert np.all(grey[label == 0] < 0.3) and grey.min() >= 0 and grey.max() <= 1
    side = options.side / 2
    across = {value: np.argwhere(label == value)[:, 1 if dims == 2 else 0].mean() for value in (4, 5)}
    assert across[4] < side - 2 and across[5] > side + 2, "left and right"
    filled = ndimage.binary_fill_holes(label == 2)
    assert np.all(filled[label >= 3]), "inside of the white matter"
    assert np.all(ndimage.binary_fill_holes(label == 1)[label > 0])
    means = [grey[label == value].mean() for value in range(6)]
    assert means[2] > means[1] > means[3] > means[0] and means[4] == pytest.approx(means[5], abs=0.05)


def test_texture_belongs_to_the_anatomy_and_the_bias_field_to_the_image():
    texture = phantoms.pattern(Options())(phantoms.voxels((64, 64)) / 63 - 0.5)
    assert abs(texture.mean()) < 0.15 and texture.std() == pytest.approx(1, abs=0.15)
    fields = [phantoms.bias_field(np.random.default_rng(seed), (32, 32)) for seed in range(5)]
    for field in fields:
        assert np.abs(np.log(field)).max() == pytest.approx(phantoms.BIAS)
        assert np.abs(np.diff(field, axis=0)).max() < 0.05, "smooth"
    assert np.abs(fields[0] - fields[1]).max() > 0.02


# ---------------------------------------------------------------- folders, hand-made


def anatomy(number, shape=(12, 14, 10)):
    """An image with a bright box and its label map: 1 in front of the middle of the box, 2 behind; shifted a little."""
    image = np.random.default_rng(number).random(shape).astype(np.float32) * 20
    label = np.zeros(shape, np.int16)
    box = tuple(slice(side // 4 + number % 2, 3 * side // 4 + number % 2) for side in shape)
    image[box] += 500 + 10 * number
    label[box] = 2
    label[:, shape[1] // 2 :][label[:, shape[1] // 2 :] > 0] = 1
    return image, label


def save(path, volume, spacing=(1, 1, 1), codes="RAS", affine=None):
    """A NIfTI file of a RAS volume, stored on other axes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(volume, np.diag([*spacing, 1.0]) if affine is None else affine)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(image.as_reoriented(turn), path)


def pair(root, name, volume, label, **how):
    save(root / "images" / f"{name}.nii.gz", volume, **how)
    if label is not None:
        save(root / "labels" / f"{name}.nii.gz", label, **how)


@pytest.fixture
def root(tmp_path):
    for number in range(8):
        pair(tmp_path, f"s{number}", *anatomy(number))
    return tmp_path


def load(root, **changes):
    return anatomy3d.load(root, Options(**{"dims": 3, **FEW, **changes}))


def refusal(call, *args, **kwargs):
    with pytest.raises(WorkbenchError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_of_pairs(root):
    source = load(root)
    assert [len(getattr(source, name)) for name in SPLITS] == [3, 1, 2]
    batch = source.test.__getitems__([0, 1])
    assert set(batch) == {"image", "label", "atlas", "atlas_label", "spacing"}, "no flow is known"
    assert batch["image"].shape == (2, 1, 16, 16, 16) and batch["label"].dtype == torch.int16
    assert set(batch["label"].unique().tolist()) == {0, 1, 2}
    assert source.spec == {"size": 16, "dims": 3, "classes": "label_1,label_2", "channels": 1}
    assert load(root, structures="front,back").labels == {"front": (1,), "back": (2,)}
    assert source.fingerprint == load(root).fingerprint != load(root, data_seed=1).fingerprint
    assert source.train.tensors["atlas"].stride(0) == 0


def test_names_do_not_enter_and_subjects_do_not_leak(root):
    source = load(root)
    ids = [case for name in SPLITS for case in getattr(source, name).table["case"]]
    assert len(set(ids)) == len(ids) == 6 and all(
        len(case) == 10 and set(case) <= set("0123456789abcdef") for case in ids
    )
    assert not any(f"s{n}" in str(getattr(source, name).table) for n in range(8) for name in SPLITS)


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SAL", "ASR"])
def test_any_orientation_gives_the_same_tensors(tmp_path, codes):
    for number in range(6):
        volume, label = anatomy(number)
        pair(tmp_path / "ras", f"s{number}", volume, label, spacing=(1, 2, 3))
        turned = {"codes": codes} if number % 2 else {}
        pair(tmp_path / "mixed", f"s{number}", volume, label, spacing=(1, 2, 3), **turned)
    plain, mixed = load(tmp_path / "ras"), load(tmp_path / "mixed")
    assert plain.fingerprint == mixed.fingerprint
    assert torch.equal(mixed.test.tensors["spacing"], torch.tensor([[1.0, 2.0, 3.0]] * 2))


def test_label_map_on_other_axes_than_its_image_is_turned_too(root):
    _, label = anatomy(3)
    before = load(root).fingerprint
    save(root / "labels" / "s3.nii.gz", label, codes="LPS")
    assert load(root).fingerprint == before


def test_counts_follow_the_folder_where_it_is_smaller(root):
    source = load(root, train=30, valid=6, test=20)
    counts = [len(getattr(source, name)) for name in SPLITS]
    assert sum(counts) == 7 and min(counts) >= 1, "and the atlas"
    assert counts[2] > counts[1]


def test_unlabelled_subjects_are_trained_on_alone(root):
    for number in range(4, 8):
        (root / "labels" / f"s{number}.nii.gz").unlink()
    source = load(root, train=4)
    assert (source.test.tensors["label"] >= 0).all() and (source.valid.tensors["label"] >= 0).all()
    assert [bool((label == -1).all()) for label in source.train.tensors["label"]] == [True] * 4
    assert (source.train.tensors["atlas_label"] >= 0).all()
    assert sum("no label map" in line for line in anatomy3d.check(root, Options(dims=3, **FEW | {"train": 4}))) == 4
    for number in (2, 3):
        (root / "labels" / f"s{number}.nii.gz").unlink()
    message = refusal(load, root)
    assert all(f"s{number}" in message for number in range(2, 8)) and "s0" not in message


def test_middle_slices_stand_upright(tmp_path):
    for number in range(5):
        volume, label = anatomy(number, (12, 14, 10))
        volume[2, :, :] = 900  # on the left of the image: the patient's left in RAS
        pair(tmp_path, f"s{number}", volume, label, spacing=(1, 2, 3))
    flat = load(tmp_path, dims=2)
    image, label = flat.test.tensors["image"][0, 0], flat.test.tensors["label"][0, 0]
    assert image.shape == (16, 16)
    assert torch.equal(flat.test.tensors["spacing"][0], torch.tensor([2.0, 1.0]))
    assert image.float().mean(0).argmax() < 8
    rows = {value: (label == value).nonzero()[:, 0].float().mean() for value in (1, 2)}
    assert rows[1] < rows[2], "the front is at the top"
    sagittal = load(tmp_path, dims=2, plane="sagittal")
    assert torch.equal(sagittal.test.tensors["spacing"][0], torch.tensor([3.0, 2.0]))
    columns = {v: (sagittal.test.tensors["label"][0, 0] == v).nonzero()[:, 1].float().mean() for v in (1, 2)}
    assert columns[1] > columns[2], "the front is at the right"


# ---------------------------------------------------------------- grids and greys


def test_fitted_cuts_and_pads_about_the_middle():
    row = np.arange(1, 6)
    assert volumes.fitted(row, (8,), np.array([2.0]), edge=True).tolist() == [1, 1, 1, 2, 3, 4, 5, 5]
    assert volumes.fitted(row, (8,), np.array([2.0]), edge=False).tolist() == [0, 0, 1, 2, 3, 4, 5, 0]
    assert volumes.fitted(row, (3,), np.array([2.0]), edge=False).tolist() == [2, 3, 4]
    assert volumes.fitted(row, (3,), np.array([3.0]), edge=False).tolist() == [3, 4, 5]
    even = np.arange(1, 5)
    assert volumes.fitted(even, (8,), np.array([1.5]), edge=False).tolist() == [0, 0, 1, 2, 3, 4, 0, 0]
    block = np.arange(12).reshape(3, 4)
    assert np.array_equal(volumes.fitted(block, (1, 2), np.array([1.0, 1.5]), edge=True), block[1:2, 1:3])


def test_foreground_in_the_middle(root):
    volume, label = anatomy(0)
    off = [np.roll(part, 3, axis=0) for part in (volume, label)]
    options = Options(dims=3, center="foreground")
    entry = layouts.Entry("x", root / "images" / "s0.nii.gz", root / "labels" / "s0.nii.gz", "x")
    one = volumes.subject(entry, root, (16, 16, 16), options)
    pair(root, "s0", *off)
    other = volumes.subject(entry, root, (16, 16, 16), options)
    assert np.array_equal(one.label, other.label)
    plain = volumes.subject(entry, root, (16, 16, 16), Options(dims=3))
    assert not np.array_equal(one.label, plain.label)


def test_grids(root):
    pair(root, "s3", *anatomy(3, (12, 30, 10)))
    assert load(root).train.tensors["image"].shape[2:] == (16, 32, 16)
    assert load(root, size=16).train.tensors["image"].shape[2:] == (16, 16, 16)
    assert load(root, grid="16x24x8").train.tensors["image"].shape[2:] == (16, 24, 8)
    assert load(root, grid="16,24,8").spec["size"] == 24
    for wrong in ("16x24", "16x24x9", "axbxc", "0x8x8"):
        assert "multiples of 8" in refusal(load, root, grid=wrong)
    lines = list(anatomy3d.check(root, Options(dims=3, grid="8x8x8", **FEW)))
    assert any("voxels of its structures lie outside the grid" in line for line in lines)


def test_resampling_to_one_spacing(tmp_path):
    for number in range(6):
        spacing = (2, 2, 2) if number % 2 else (1, 1, 1)
        shape = (12, 14, 10) if number % 2 else (24, 28, 20)
        pair(tmp_path, f"s{number}", *anatomy(number, shape), spacing=spacing)
    assert any("spacing=" in line for line in anatomy3d.check(tmp_path, Options(dims=3, **FEW)))
    source = load(tmp_path, spacing=2.0)
    assert source.train.tensors["image"].shape[2:] == (16, 16, 16)
    assert torch.equal(source.train.tensors["spacing"], torch.full((2, 3), 2.0))
    counts = [(label == 1).sum().item() for name in SPLITS for label in getattr(source, name).tensors["label"]]
    assert max(counts) < 1.7 * min(counts), "the same size in mm, the same size in voxels"
    assert set(source.train.tensors["label"].unique().tolist()) == {0, 1, 2}
    lines = list(anatomy3d.check(tmp_path, Options(dims=3, spacing=2.0, **FEW)))
    assert not any("differ in size" in line for line in lines)


def test_greys_are_robust_and_know_no_scanner():
    rng = np.random.default_rng(0)
    image = rng.random((20, 20, 20))
    image[0, 0, 0] = 50
    pixels = scaled(image)
    assert pixels.dtype == np.uint8 and pixels.max() == 255 and pixels.min() == 0
    assert np.median(pixels) == pytest.approx(127, abs=4), "one bright voxel changes nothing"
    assert np.array_equal(pixels, scaled(3 * image + 7))
    stripped = np.zeros((20, 20, 20))
    stripped[5:8, 5:8, 5:8] = rng.uniform(100, 200, (3, 3, 3))
    assert scaled(stripped)[5:8, 5:8, 5:8].min() > 100, "a small brain on black keeps its greys"
    rare = np.zeros(10000)
    rare[0] = 5
    assert scaled(rare).max() == 255 and scaled(np.full(4, 3.0)).max() == 0


def test_nearest_to_mean():
    images = [np.full((2, 2), value, np.uint8) for value in (0, 100, 90, 250)]
    brains = [Subject(image, None, np.ones(2), "", "") for image in images]
    assert nearest_to_mean(brains, range(4)) == 1
    assert nearest_to_mean(brains, [0, 3]) == 0


# ---------------------------------------------------------------- layouts


def oasis(root, number, name="", **labels):
    folder = root / (name or f"OASIS_OAS1_{number:04d}_MR1")
    volume, label = anatomy(number)
    save(folder / "aligned_norm.nii.gz", volume / 600, codes="LIA")
    save(folder / "aligned_seg35.nii.gz", label, codes="LIA")
    save(folder / "aligned_seg4.nii.gz", (label > 0).astype(np.int16), codes="LIA")
    flat, spots = volume[:, 7:8], label[:, 7:8].copy()
    spots[spots > 0] += 20
    save(folder / "slice_norm.nii.gz", flat / 600, codes="LIA")
    save(folder / "slice_seg24.nii.gz", spots, codes="LIA")
    return folder


@pytest.fixture
def neurite(tmp_path):
    for number in range(7):
        oasis(tmp_path, number)
    (tmp_path / "subjects.txt").write_text("\n".join(f"OASIS_OAS1_{n:04d}_MR1" for n in range(7)))
    table = "0    Unknown   0 0 0 0\n1    Left-Cerebral-Cortex   205 62 78 0\n2  Brain-Stem  1 2 3 0\n"
    (tmp_path / "seg35_labels.txt").write_text(table)
    return tmp_path


def test_neurite_oasis_volumes(neurite):
    source = load(neurite)
    assert source.train.tensors["image"].shape[2:] == (16, 16, 16)
    assert source.labels == {"left_cerebral_cortex": (1,), "brain_stem": (2,)}
    assert load(neurite, parcels=4).spec["classes"] == "label_1"
    assert "parcels=35 or 4" in refusal(load, neurite, parcels=24)
    (neurite / "OASIS_OAS1_0002_MR1" / "aligned_norm.nii.gz").unlink()
    (neurite / "OASIS_OAS1_0004_MR1" / "aligned_norm.nii.gz").unlink()
    message = refusal(load, neurite)
    assert "OASIS_OAS1_0002_MR1" in message and "OASIS_OAS1_0004_MR1" in message


def test_neurite_oasis_slices_stand_upright(neurite):
    source = load(neurite, dims=2)
    assert source.train.tensors["image"].shape[2:] == (16, 16) and source.spec["classes"] == "label_21"
    _, label = anatomy(0)
    options = Options(dims=2)
    entry = next(e for e in layouts.entries(neurite, options) if e.name == "OASIS_OAS1_0000_MR1")
    one = volumes.subject(entry, neurite, (16, 16), options)
    expected = np.zeros((16, 16), bool)
    expected[3:13, 2:14] = label[:, 7].T[::-1] > 0
    assert np.array_equal(one.label > 0, expected)
    for path in neurite.glob("*/slice_*"):
        path.unlink()
    assert load(neurite, dims=2, plane="coronal").spec["classes"] == "left_cerebral_cortex"


def test_files_of_one_name_are_told_apart_by_their_folder(neurite):
    (neurite / "OASIS_OAS1_0003_MR1" / "aligned_norm.nii.gz").write_bytes(b"cut")
    options = Options(dims=3, atlas="OASIS_OAS1_0001_MR1", train=9)
    ((name, _),) = anatomy3d.load(neurite, options).aside
    assert name == "OASIS_OAS1_0003_MR1: aligned_norm.nii.gz"
    assert not any(line.startswith("not used: OASIS_OAS1_0003") for line in anatomy3d.check(neurite, options))


def test_values_that_the_table_beside_the_data_does_not_name_are_refused(neurite):
    (neurite / "seg35_labels.txt").write_text("1 cortex\n")
    message = refusal(load, neurite)
    assert "2 (" in message and "voxels in 7 label maps" in message


def test_two_visits_of_a_subject_stay_in_one_split(neurite):
    for number in range(7):
        oasis(neurite, number, f"OASIS_OAS1_{number:04d}_MR2")
    source = load(neurite, train=5, valid=3, test=4)
    groups = [set(getattr(source, name).table["group"]) for name in SPLITS]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert len(source.test) == 4 and len(groups[2]) == 2


def test_candi_as_converted_arrays(tmp_path):
    names = ["HC_001", "HC_002", "SS_011", "BPDwPsy_030", "BPDwoPsy_049", "BPDwoPsy_050"]
    for number, name in enumerate(names):
        volume, label = anatomy(number)
        for ending, part in (("", volume), ("_seg", label * 9)):
            with gzip.open(tmp_path / f"{name}_MR{ending}.npy.gz", "wb") as file:
                np.save(file, part)
    source = load(tmp_path, atlas="BPDwoPsy_049", train=2)
    assert source.spec["classes"] == "label_9,label_18" and set(source.test.tensors["label"].unique().tolist()) == {
        0,
        1,
        2,
    }
    entry = next(e for e in layouts.entries(tmp_path, Options()) if e.name == "BPDwoPsy_049")
    atlas = volumes.subject(entry, tmp_path, (16, 16, 16), Options(dims=3))
    assert np.array_equal(source.train.tensors["atlas"][0, 0].numpy(), atlas.image)
    with gzip.open(tmp_path / "HC_002_MR.npy.gz", "wb") as file:
        file.write(b"\x93NUMPY\x01\x00nonsense")
    assert [name for name, _ in load(tmp_path, atlas="BPDwoPsy_049", train=1).aside] == ["HC_002_MR.npy.gz"]
    np.save(tmp_path / "HC_001_MR_second.npy", np.zeros((2, 2, 2)))
    assert "HC_001 (2 images, 1 label maps)" in refusal(load, tmp_path)


def test_arrays_of_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([[["a", object()]]], dtype=object), allow_pickle=True)
    assert "one number a voxel" in refusal(volumes.read, path)


def test_candi_as_nifti_in_folders(tmp_path):
    for number, name in enumerate(["HC_001", "HC_002", "HC_010", "SS_007", "SS_008"]):
        volume, label = anatomy(number)
        save(tmp_path / "data" / name / f"{name}_procd.nii.gz", volume)
        save(tmp_path / "data" / name / f"{name}_seg.nii.gz", label)
    assert len(load(tmp_path, train=1).train) == 1
    assert {entry.group for entry in layouts.entries(tmp_path, Options())} == {
        "HC_001",
        "HC_002",
        "HC_010",
        "SS_007",
        "SS_008",
    }


def test_subjects_come_from_names_or_from_a_table(root):
    pair(root, "sub-01_ses-1", *anatomy(1))
    pair(root, "sub-01_ses-2", *anatomy(2))
    (root / "labels.csv").write_text("file,subject\ns0.nii.gz,ann\ns1.nii.gz,ann\n")
    groups = {entry.name: entry.group for entry in layouts.entries(root, Options())}
    assert groups["sub-01_ses-1"] == groups["sub-01_ses-2"] == "sub-01"
    assert groups["s0"] == groups["s1"] == "ann" and groups["s2"] == "s2"


def test_names_with_endings_and_other_folders(tmp_path):
    for number in range(5):
        volume, label = anatomy(number)
        save(tmp_path / "imagesTr" / f"s{number}.nii.gz", volume)
        save(tmp_path / "labelsTr" / f"s{number}{('_seg', '_mask', '', '_label', '')[number]}.nii.gz", label)
    (tmp_path / "imagesTr" / "._s0.nii.gz").write_bytes(b"junk of a file system")
    assert all(entry.label for entry in layouts.entries(tmp_path, Options()))


# ---------------------------------------------------------------- structures


def test_structures_are_merged_and_dropped(root):
    merged = load(root, structures="all:1+2")
    assert merged.spec["classes"] == "all" and set(merged.test.tensors["label"].unique().tolist()) == {0, 1}
    front = load(root, structures="front:1,background:2")
    plain = load(root)
    assert front.labels == {"front": (1,)}
    assert torch.equal(front.test.tensors["label"] == 1, plain.test.tensors["label"] == 1)
    swapped = load(root, structures="back:2,front:1")
    assert torch.equal(swapped.test.tensors["label"] == 1, plain.test.tensors["label"] == 2)


def test_values_outside_the_map_are_listed_with_their_counts(root):
    volume, label = anatomy(2)
    label[0, 0, :3], label[0, 1, :2] = 7, 9
    pair(root, "s2", volume, label)
    message = refusal(load, root, structures="front,back", train=4)
    assert "7 (3 voxels in 1 label maps)" in message and "9 (2 voxels in 1 label maps)" in message
    assert "background:7+9" in message


@pytest.mark.parametrize("text", ["", ",", "a:0", "a:x", "a,a", "a:1,b:1", ":3"])
def test_wrong_words_for_structures(text):
    if text:
        assert "structures" in refusal(structures.parse, text)
    with pytest.raises(InvalidParameter):
        structures.parse(text)


# ---------------------------------------------------------------- the atlas


def test_the_atlas_can_be_named(root):
    ids = {
        line.split()[2]: line.split()[0]
        for line in anatomy3d.check(root, Options(dims=3, **FEW))
        if len(line.split()) == 3
    }
    by_name, by_id = load(root, atlas="s5"), load(root, atlas=ids["s5"]) if "s5" in ids else load(root, atlas="s5")
    assert by_name.fingerprint == by_id.fingerprint
    entry = next(e for e in layouts.entries(root, Options()) if e.name == "s5")
    chosen = volumes.subject(entry, root, (16, 16, 16), Options(dims=3))
    assert np.array_equal(by_name.train.tensors["atlas"][0, 0].numpy(), chosen.image)
    assert chosen.case not in [case for name in SPLITS for case in getattr(by_name, name).table["case"]]
    assert "did you mean s5" in refusal(load, root, atlas="s55")


def test_an_atlas_needs_its_label_map_and_all_structures(root):
    volume, label = anatomy(5)
    pair(root, "s5", volume, (label == 1).astype(np.int16))
    assert "no label_2" in refusal(load, root, atlas="s5")
    assert load(root, atlas="s5", structures="front:1,background:2").spec["classes"] == "front"
    for seed in range(4):
        source = load(root, data_seed=seed, train=4)
        assert set(source.train.tensors["atlas_label"].unique().tolist()) == {0, 1, 2}, "chosen among the complete"
    (root / "labels" / "s5.nii.gz").unlink()
    assert "s5.nii.gz: expected an atlas with a label map" in refusal(load, root, atlas="s5")


def test_one_atlas_not_several(root):
    for folder in ("images", "labels"):
        (root / folder / "again").mkdir()
        (root / folder / "again" / "s5.nii.gz").write_bytes((root / folder / "s5.nii.gz").read_bytes())
    message = refusal(load, root, atlas="s5")
    assert "one scan" in message and "again/s5" in message


def test_other_visits_of_the_atlas_are_not_used(root):
    pair(root, "sub-9_a", *anatomy(1))
    pair(root, "sub-9_b", *anatomy(2))
    source = load(root, atlas="sub-9_a", train=6)
    group = hashed("sub-9")
    assert not any(group in getattr(source, name).table["group"] for name in SPLITS)
    assert any("not used: sub-9_b" in line for line in anatomy3d.check(root, Options(dims=3, atlas="sub-9_a")))


# ---------------------------------------------------------------- bad input


def shape(root):
    save(root / "labels" / "s3.nii.gz", anatomy(3, (12, 14, 11))[1])
    return "12 x 14 x 10 voxels, as its image, found 12 x 14 x 11"


def orientation(root):
    flipped = np.diag([-1.0, 1, 1, 1])
    save(root / "labels" / "s3.nii.gz", anatomy(3)[1], affine=flipped)
    return "orientation and position of its image"


def position(root):
    moved = np.eye(4)
    moved[0, 3] = 5
    save(root / "labels" / "s3.nii.gz", anatomy(3)[1], affine=moved)
    return "corners 5.0 mm off"


def empty(root):
    save(root / "labels" / "s3.nii.gz", np.zeros((12, 14, 10), np.int16))
    return "an empty mask"


def single(root):
    save(root / "labels" / "s3.nii.gz", np.full((12, 14, 10), 4, np.int16))
    return "the single value 4 everywhere"


def fractions(root):
    save(root / "labels" / "s3.nii.gz", anatomy(3)[1].astype(np.float32) / 2)
    return "whole label values"


def negative(root):
    save(root / "labels" / "s3.nii.gz", -anatomy(3)[1])
    return "from -2 to 0"


def series(root):
    nibabel.save(nibabel.Nifti1Image(np.zeros((12, 14, 10, 3), np.float32), np.eye(4)), root / "images" / "s3.nii.gz")
    return "4 axes"


def singular(root):
    image = nibabel.Nifti1Image(anatomy(3)[0], np.eye(4))
    image.header.set_sform(np.diag([1.0, 0, 1, 1]), code=1)
    image.header.set_qform(None, code=0)
    path = root / "images" / "s3.nii.gz"
    image.to_filename(path)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[280:328] = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]], "<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    return "singular or infinite affine"


def truncated(root):
    path = root / "images" / "s3.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    return "damaged or incomplete"


def constant(root):
    save(root / "images" / "s3.nii.gz", np.full((12, 14, 10), 3.0, np.float32))
    return "one value everywhere"


@pytest.mark.parametrize(
    "spoil",
    [shape, orientation, position, empty, single, fractions, negative, series, singular, truncated, constant],
    ids=lambda spoil: spoil.__name__,
)
def test_a_bad_scan_is_one_line_and_another_takes_its_place(root, spoil):
    expected = spoil(root)
    source = load(root, train=4)
    ((name, reason),) = source.aside
    assert name == "s3.nii.gz" and expected in reason and "\n" not in reason
    assert [len(getattr(source, name)) for name in SPLITS] == [3, 1, 2], "7 scans are left, one is the atlas"
    assert any(
        line.startswith("set aside: s3.nii.gz") for line in anatomy3d.check(root, Options(dims=3, **FEW | {"train": 4}))
    )
    assert expected in refusal(load, root, atlas="s3"), "an atlas cannot be replaced"
    if spoil is not empty:  # so that the fault is s3's alone
        good = load(root, train=3)
        assert (good.test.tensors["label"].flatten(1).amax(1) > 0).all()


def test_label_maps_without_image_are_listed_at_once(root):
    for number in (1, 4):
        (root / "images" / f"s{number}.nii.gz").unlink()
    message = refusal(load, root)
    assert "s1.nii.gz" in message and "s4.nii.gz" in message


def test_too_few(tmp_path):
    assert "nothing of that name" in refusal(load, tmp_path / "nowhere")
    assert "images/ with labels/" in refusal(load, tmp_path)
    (tmp_path / "images").mkdir()
    assert "NIfTI volumes" in refusal(load, tmp_path)
    for number in range(3):
        pair(tmp_path, f"s{number}", *anatomy(number))
    assert "at least 4 subjects" in refusal(load, tmp_path)
    pair(tmp_path, "s3", *anatomy(3))
    source = load(tmp_path)
    assert [len(getattr(source, name)) for name in SPLITS] == [1, 1, 1]
    truncated(tmp_path)
    assert "s3.nii.gz" in refusal(load, tmp_path)


def test_two_files_of_one_name(root):
    (root / "images" / "s1.nii").write_bytes(b"")
    assert "s1.nii and s1.nii.gz" in refusal(load, root)


def test_more_than_fits_is_refused_with_the_estimate_and_the_option(root, monkeypatch):
    need = 6 * 7 * 16**3
    monkeypatch.setattr(volumes, "free_memory", lambda: need - 1)
    message = refusal(load, root)
    assert "7 of 16 x 16 x 16 voxels" in message and "spacing=2" in message and "dims=2" in message and "MB" in message
    monkeypatch.setattr(volumes, "free_memory", lambda: need)
    assert len(load(root).test) == 2


def test_headers_alone_give_the_grid(root, monkeypatch):
    called = []
    monkeypatch.setattr(volumes, "read", lambda path: called.append(path))
    found = layouts.entries(root, Options())
    save(root / "images" / "s3.nii.gz", anatomy(3, (12, 14, 30))[0], spacing=(1, 2, 3), codes="SPL")
    assert volumes.common_grid(found, Options(dims=3)) == (16, 16, 32)
    assert volumes.common_grid(found, Options(dims=3, spacing=1.5)) == (8, 24, 64)
    assert volumes.common_grid(found, Options(dims=2)) == (16, 16) and not called


def test_check_tells_everything(root):
    lines = list(anatomy3d.check(root, Options(dims=3, **FEW)))
    assert lines[0] == "common grid 16 x 16 x 16; structures label_1, label_2"
    assert sum(" atlas " in line for line in lines) == 1
    assert [sum(f"  {name:<5}  s" in line for line in lines) for name in SPLITS] == [3, 1, 2]
    assert sum(line.startswith("not used: s") for line in lines) == 1
    assert lines[-1] == "7 scans can be used, 0 files are set aside"


@given(st.integers(4, 40), st.integers(0, 40), st.integers(1, 30), st.integers(1, 9), st.integers(1, 30))
@settings(max_examples=80, deadline=None)
def test_shares_always_fit(total, unlabelled, train, valid, test):
    labelled = max(3, total - unlabelled)
    found = [layouts.Entry(f"{n}", Path(f"{n}"), Path("x") if n < labelled else None, f"{n}") for n in range(total)]
    counts = folders.shares(Path("root"), found, Options(train=train, valid=valid, test=test))
    assert min(counts.values()) >= 1
    assert sum(counts.values()) + 1 <= total
    assert counts["test"] + counts["valid"] + 1 <= labelled
    assert counts["train"] <= train and counts["valid"] <= valid and counts["test"] <= test
    if train + valid + test < total and test + valid < labelled:
        assert counts == {"train": train, "valid": valid, "test": test}


# ---------------------------------------------------------------- real data


@pytest.mark.skipif(not (REAL / "hippocampus").is_dir(), reason="WORKBENCH_DATA names no folder with hippocampus")
def test_hippocampus():
    options = Options(dims=3, grid="40x56x40", train=30, valid=6, test=20, structures="anterior,posterior")
    source = anatomy3d.load(REAL / "hippocampus", options)
    assert [len(getattr(source, name)) for name in SPLITS] == [29, 6, 20] and not source.aside
    assert source.train.tensors["image"].shape[1:] == (1, 40, 56, 40)
    for label in source.test.tensors["label"][:, 0]:
        front, back = ((label == value).nonzero()[:, 1].float().mean() for value in (1, 2))
        assert front > back, "Y grows to the front"
    lines = list(anatomy3d.check(REAL / "hippocampus", options))
    assert not any("outside the grid" in line for line in lines)
