"""Metrics of segmentations against numbers by hand and SciPy, and the small U-Net."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from workbench import metrics
from workbench.models.unet import UNet

NESTED = {"cup": (2,), "disc": (1, 2)}


def square(top, left, side, size=32, value=1):
    mask = torch.zeros(1, 1, size, size, dtype=torch.int16)
    mask[..., top : top + side, left : left + side] = value
    return mask


def scored(mask, label, labels=NESTED, spacing=(1.0, 1.0)):
    batch = {"label": label, "spacing": torch.tensor([spacing]).expand(len(label), -1)}
    return {key: value.tolist() for key, value in metrics.segmentation(batch, {"mask": mask}, labels).items()}


def test_shifted_square_by_hand():
    found = scored(square(8, 12, 8), square(8, 8, 8), {"organ": (1,)}, spacing=(1.0, 0.5))
    assert found == {"dice": [0.5], "tpf": [0.5], "hd95": [2.0], "centroid": [2.0]}  # 4 columns of half a millimetre


def test_distances_follow_the_spacing_of_each_axis():
    for axis, expected in ((0, 12.0), (1, 2.0)):
        shifted = square(8, 8, 8).roll(4, 2 + axis)
        found = scored(shifted, square(8, 8, 8), {"organ": (1,)}, spacing=(3.0, 0.5))
        assert found["hd95"] == found["centroid"] == [expected]


def test_a_disc_includes_its_cup():
    label = square(4, 4, 16)
    label[..., 8:12, 8:12] = 2
    without = torch.where(label == 2, 1, label)
    found = scored(without, label)
    assert found["dice_disc"] == [1.0] and found["dice_cup"] == [0.0] and found["dice"] == [0.5]
    assert found["hd95_cup"] == pytest.approx([32 * 2**0.5]), "what is missing is the diagonal away"


def test_both_empty_is_right_and_one_empty_is_wholly_wrong():
    nothing, something = torch.zeros(1, 1, 32, 32), square(3, 3, 4)
    assert scored(nothing, nothing.short(), {"organ": (1,)}) == {"dice": [1], "tpf": [1], "hd95": [0], "centroid": [0]}
    for mask, label, share in ((nothing, something, 0.0), (something, nothing, 1.0)):
        found = scored(mask, label, {"organ": (1,)})
        assert found["dice"] == [0.0] and found["tpf"] == [share]
        assert found["hd95"] == found["centroid"] == pytest.approx([32 * 2**0.5])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), dims=st.sampled_from([2, 3]))
def test_greatest_distance_is_that_of_scipy(seed, dims):
    rng = np.random.default_rng(seed)
    shape, spacing = (9, 10, 8)[:dims], rng.uniform(0.5, 3, dims)
    one, two = (ndimage.binary_dilation(rng.random(shape) < 0.02, iterations=1) for _ in range(2))
    if not (one.any() and two.any()):
        return
    edges = [m & ~ndimage.binary_erosion(m) for m in (one, two)]
    far = [ndimage.distance_transform_edt(~edges[1 - i], sampling=spacing)[edges[i]].max() for i in (0, 1)]
    masks = [torch.from_numpy(m)[None, None].float() for m in (one, two)]
    found = metrics.hd95(*masks, torch.tensor(spacing)[None].float(), percentile=None)
    assert found.item() == pytest.approx(max(far), rel=1e-5)


def test_scores_do_not_depend_on_the_batch():
    label = torch.cat([square(2, 3, 9), square(9, 4, 5), torch.zeros(1, 1, 32, 32).short()])
    mask = torch.cat([square(3, 3, 9), square(9, 9, 5), square(1, 1, 3)])
    together = scored(mask, label, {"organ": (1,)})
    for item in range(3):
        alone = scored(mask[item : item + 1], label[item : item + 1], {"organ": (1,)})
        assert {key: value[item] for key, value in together.items()} == {key: value[0] for key, value in alone.items()}


def test_classes_take_their_values_in_order():
    assert metrics.classes("a,b,c") == {"a": (1,), "b": (2,), "c": (3,)}


@pytest.mark.parametrize(("dims", "shape"), [(2, (16, 24)), (3, (8, 12, 16))])
def test_unet_keeps_the_shape_and_sees_one_item_at_a_time(dims, shape):
    net = UNet(2, 3, (4, 6, 8), dims)
    image = torch.rand(2, 2, *shape)
    out = net(image)
    assert out.shape == (2, 3, *shape)
    torch.testing.assert_close(net(image[1:]), out[1:])


def test_unet_has_the_weights_of_its_levels():
    convolutions = 9 * (3 * 8 + 8 * 8 + 8 * 16 + 16 * 16 + 16 * 32 + 32 * 32 + 48 * 16 + 16 * 16 + 24 * 8 + 8 * 8)
    norms = 2 * 2 * (8 + 16 + 32 + 16 + 8)
    assert sum(p.numel() for p in UNet(3, 2).parameters()) == convolutions + norms + (8 * 2 + 2)


def test_unet_reaches_across_its_levels():
    image = torch.zeros(1, 1, 32, 32, requires_grad=True)
    UNet(1, 1).eval()(image + torch.rand(1, 1, 32, 32))[0, 0, 16, 16].backward()
    assert (image.grad[0, 0].abs().sum(1) > 0).all()
