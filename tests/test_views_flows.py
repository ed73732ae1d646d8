"""Fields as pictures: the numbers against the trained side's own, the drawings against hand-made fields."""

import holoviews as hv
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data import anatomy3d
from workbench.models import warp as trained
from workbench.views import flows, volumes

hv.extension("bokeh")


def field(seed, shape=(9, 11), scale=1.5):
    return np.random.default_rng(seed).uniform(-scale, scale, (len(shape), *shape))


def shift(*steps, shape=(9, 11)):
    return np.stack([np.full(shape, float(step)) for step in steps])


def batch(array):
    return torch.from_numpy(np.ascontiguousarray(array))[None]


@given(st.integers(0, 1000), st.sampled_from([(9, 11), (5, 6, 7)]))
@settings(max_examples=20, deadline=None)
def test_numbers_are_those_of_the_networks_side(seed, shape):
    forth, back = field(seed, shape), field(seed + 1, shape)
    image = np.random.default_rng(seed).random(shape)
    pairs = (
        (flows.warp(image, forth), trained.warp(batch(image)[None], batch(forth))[0, 0]),
        (flows.compose(forth, back), trained.compose(batch(forth), batch(back))[0]),
        (flows.jacobian(forth), trained.jacobian(batch(forth))[0]),
    )
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
    mean = trained.cycle_error(batch(forth), batch(back)).item()
    assert flows.cycle(forth, back).mean() == pytest.approx(mean, abs=1e-5)


def test_shifts():
    image = np.arange(99.0).reshape(9, 11)
    assert np.array_equal(flows.warp(image, shift(2, -1))[:7, 1:], image[2:, :10])
    assert np.allclose(flows.compose(shift(1, 2), shift(3, 4)), shift(4, 6))
    assert flows.cycle(shift(2, -1), shift(-2, 1)).max() == 0
    assert np.allclose(flows.cycle(shift(3, 4), shift(0, 0)), 5)
    assert np.allclose(flows.cycle(shift(3, 4), shift(0, 0), spacing=(2.0, 0.5)), np.hypot(6, 2)), "in mm"
    assert np.allclose(flows.jacobian(shift(3, 4)), 1)


def test_cycle_reads_the_way_there_where_the_way_back_leads():
    forth = np.stack([np.indices((9, 11))[0] * 0.5, np.zeros((9, 11))])
    back = np.stack([-np.indices((9, 11))[0] / 3, np.zeros((9, 11))])
    assert flows.cycle(forth, back).max() < 1e-12, "x -> 1.5 x is undone by x -> x / 1.5"
    assert np.abs(forth + back).max() > 1, "although the fields do not cancel place by place"


def test_carry_keeps_label_values_and_takes_the_largest_share():
    label = np.zeros((6, 8), np.uint8)
    label[:, 2:4], label[:, 4:] = 3, 7
    assert np.array_equal(flows.carry(label, np.zeros((2, 6, 8))), label)
    moved = flows.carry(label, shift(0, 0.4, shape=(6, 8)))
    assert np.array_equal(moved, label), "less than half a pixel"
    assert np.array_equal(flows.carry(label, shift(0, 1, shape=(6, 8)))[:, :7], label[:, 1:])
    assert flows.carry(label, field(0, (6, 8))).dtype == np.uint8


@pytest.mark.parametrize("name", ["sagittal", "coronal", "axial"])
def test_section_of_a_shift_moves_the_slice_as_the_volume_moves(name):
    plane = volumes.PLANES[name]
    volume = np.random.default_rng(0).random((6, 7, 8))
    steps = [0.0, 0.0, 0.0]
    steps[plane.across], steps[plane.up] = 1.0, 2.0
    moved = flows.warp(volume, shift(*steps, shape=(6, 7, 8)))
    cut = flows.section(shift(*steps, shape=(6, 7, 8)), plane, 3)
    before, after = (volumes.cut(v[None], 0, plane, 3) for v in (volume, moved))
    assert cut.shape == (2, *before.shape) and cut[0].max() == -2 and cut[1].min() == 1
    assert np.allclose(flows.warp(before, cut)[2:, :-1], after[2:, :-1]), "up is up"


def lines(path):
    return [part.array() if hasattr(part, "array") else np.c_[part["x"], part["y"]] for part in path.split()]


def test_grid_of_a_field_at_rest_is_square_and_of_a_shift_is_shifted():
    still = lines(flows.grid(np.zeros((2, 8, 12)), every=4))
    assert len(still) == 2 + 3
    assert np.allclose(still[0][:, 1], 8 - 2.5) and np.allclose(still[0][:, 0], np.arange(12) + 0.5)
    moved = lines(flows.grid(shift(1, 2, shape=(8, 12)), every=4))
    for before, after in zip(still, moved, strict=True):
        assert np.allclose(after - before, [2, -1]), "rows grow downwards, y upwards"
    stretched = lines(flows.grid(shift(1, 2, shape=(8, 12)), every=4, spacing=(2.0, 0.5)))
    assert np.allclose(stretched[0][:, 1], 16 - 2 * 3.5) and np.allclose(
        stretched[0][:, 0], 0.5 * (np.arange(12) + 2.5)
    )


def test_maps_tell_lengths_and_folds():
    errors = np.zeros((6, 8))
    errors[0, :] = 3
    image = flows.length_map(errors, "Error", "mm", limit=2.0, spacing=(2.0, 1.0))
    assert image.bounds.lbrt() == (0, 0, 8, 12) and image.label == "Error"
    assert np.array_equal(image.dimension_values(2, flat=False), errors[::-1]) or np.array_equal(image.data, errors)
    assert image.vdims[0].unit == "mm"
    folded = np.zeros((2, 6, 8))
    folded[1, :, 4:] = -6.0
    title = flows.jacobian_map(flows.jacobian(folded), "Field").label
    assert (
        title == f"Field: {100 * (flows.jacobian(folded) <= 0).mean():.2g} % folded"
        and "0 %" not in title.split(":")[1][:4]
    )
    assert flows.jacobian_map(np.ones((6, 8))).label == "0 % folded"
    assert flows.length_map(np.zeros((4, 4))) is not None, "a perfect cycle can be drawn"


@pytest.fixture(scope="module")
def subject():
    source = anatomy3d.phantom(anatomy3d.Options(size=32, train=2, valid=1, test=1))
    given = {key: tensor.numpy()[0] for key, tensor in source.test.tensors.items()}
    arrays = {key: given[key][0].astype(np.uint8) for key in ("image", "atlas", "label", "atlas_label")}
    return arrays, given["flow"].astype(float), source.labels


def test_there_and_back_of_the_true_map(subject):
    arrays, flow, labels = subject
    carried = flows.carry(arrays["atlas_label"], flow)
    assert (carried == arrays["label"]).mean() > 0.93 > (arrays["atlas_label"] == arrays["label"]).mean() + 0.05
    layout = flows.there_and_back(arrays, flow, -flow, labels)
    titles = [element.label for element in layout]
    assert len(titles) == 6 and titles[-1] == f"Cycle error {flows.cycle(flow, -flow).mean():.2f} px"
    in_mm = flows.there_and_back(arrays | {"spacing": np.array([2.0, 2.0])}, flow, -flow, labels)
    assert [e.label for e in in_mm][-1] == f"Cycle error {2 * flows.cycle(flow, -flow).mean():.2f} mm"


def test_everything_can_be_drawn(subject):
    arrays, flow, labels = subject
    shown = flows.there_and_back(arrays, flow, -flow, labels) + flows.jacobian_map(flows.jacobian(flow), "true")
    assert hv.render(shown, backend="bokeh") is not None


def test_volumes_are_shown_by_a_slice_and_computed_as_a_whole():
    rng = np.random.default_rng(0)
    arrays = {key: rng.integers(0, 255, (8, 9, 10)).astype(np.uint8) for key in ("image", "atlas")}
    arrays |= {key: rng.integers(0, 2, (8, 9, 10)).astype(np.uint8) for key in ("label", "atlas_label")}
    forth, back = shift(0, 0, 2, shape=(8, 9, 10)), shift(0, 0, -1, shape=(8, 9, 10))
    layout = flows.there_and_back(arrays, forth, back, {"one": (1,)}, plane=volumes.PLANES["axial"], index=4)
    assert [element.label for element in layout][-1] == "Cycle error 1.00 px", "although in the plane nothing moves"
    shown = layout.Overlay.Warped_atlas.get(0)
    assert np.array_equal(
        shown.data["R"] if isinstance(shown.data, dict) else shown.data[..., 0], arrays["atlas"][:, :, 6].T[::-1]
    )
