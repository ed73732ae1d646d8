"""Patches: how they are cut, where they are placed, dense against patch by patch, and what is done to a mask."""

import numpy as np
import pytest
import torch
from conftest import small_data

from workbench.method import Stream
from workbench.methods.crossover import SQUARES, TURNED
from workbench.models.patches import (
    BARS,
    OFFSETS,
    SHARES,
    PatchClassifier,
    Sampling,
    alike,
    balanced_points,
    cleaned,
    core_grid,
    crops,
    density,
    edge_of,
    in_tiles,
    labels_at,
    mirrored,
    pick,
    shares,
    surrounded,
)

CROPS = [(patch, crop) for patch in BARS for crop in TURNED]


def numbered(height, width, batch=1):
    """Images whose every pixel has a value of its own."""
    return torch.arange(batch * height * width, dtype=torch.float32).view(batch, 1, height, width)


def disc(radius=8.0, size=64, center=(32, 32)):
    y, x = np.mgrid[:size, :size]
    inside = np.hypot(y - center[0], x - center[1]) <= radius
    return torch.from_numpy(inside).float()[None, None]


def classifier(patch, crop):
    plan = (SQUARES if crop == "square" else BARS)[patch]
    torch.manual_seed(0)
    net = PatchClassifier(1, plan, TURNED[crop])
    for module in net.modules():  # as large as their inputs, so that an error would show
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight)
    return net.eval()


def all_points(height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x], -1).view(1, -1, 2)


# ---------------------------------------------------------------- cutting


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_mirrored_is_reflection_without_the_border_pixel(size):
    padded = np.pad(np.arange(size), 23, mode="reflect")
    assert mirrored(torch.arange(-23, size + 23), size).tolist() == padded.tolist()


@pytest.mark.parametrize("shape", [(10, 4), (4, 10), (7, 7), (40, 8)])
def test_patch_lies_around_its_point(shape):
    image, (high, wide) = numbered(12, 9), shape
    padded = np.pad(image[0, 0].numpy(), 50, mode="reflect")
    for y, x in ((0, 0), (11, 8), (5, 3)):
        top, left = 50 + y - high // 2, 50 + x - wide // 2
        patch = crops(image, torch.tensor([[[y, x]]]), shape)[0, 0].numpy()
        assert np.array_equal(patch, padded[top : top + high, left : left + wide])


def test_patches_belong_to_their_items_in_order():
    image, points = numbered(6, 6, batch=2), torch.tensor([[[0, 1], [2, 3]], [[4, 5], [5, 0]]])
    assert crops(image, points, (1, 1)).flatten().tolist() == [1, 15, 36 + 29, 36 + 30]
    colors = torch.rand(2, 3, 6, 6)
    assert torch.equal(crops(colors, points, (1, 1))[2, :, 0, 0], colors[1, :, 4, 5])


@pytest.mark.parametrize("patch", BARS)
def test_both_patches_share_their_centre_and_only_their_crossing(patch):
    net, image = classifier(patch, "cross"), numbered(400, 380)
    vertical, across = net.patches(image, torch.tensor([[[190, 185]]]))[:, 0, 0]
    (long, short), center = net.shape, image[0, 0, 190, 185]
    for one in (vertical, across):
        assert one.shape == (long, short) and one[long // 2, short // 2] == center
    first = (long - short) // 2
    shared = set(vertical.flatten().tolist()) & set(across.flatten().tolist())
    assert shared == set(vertical[first : first + short].flatten().tolist())
    assert shared == set(across[first : first + short].flatten().tolist())


def test_horizontal_patch_is_stored_transposed():
    image = numbered(120, 130)
    patch = classifier(100, "horizontal").patches(image, torch.tensor([[[60, 65]]]))[0, 0, 0]
    for i, j in ((0, 0), (99, 19), (50, 10), (7, 3)):
        assert patch[i, j] == image[0, 0, 60 - 10 + j, 65 - 50 + i]


def test_block_sees_what_its_patches_see():
    image, shape = torch.rand(2, 1, 14, 11), (10, 4)
    seen = surrounded(image, range(3, 8), range(6, 11), shape)
    patches = seen.unfold(2, 10, 1).unfold(3, 4, 1)
    points = torch.tensor([[y, x] for y in range(3, 8) for x in range(6, 11)]).expand(2, -1, 2)
    assert torch.equal(patches.flatten(1, 3).flatten(0, 1), crops(image, points, shape)[:, 0])


# ---------------------------------------------------------------- dense


@pytest.mark.parametrize(("patch", "crop"), CROPS)
@torch.inference_mode()
def test_dense_equals_patch_by_patch(patch, crop):
    net, image = classifier(patch, crop), torch.rand(2, 1, 22, 18, generator=torch.Generator().manual_seed(0))
    dense = net.every_pixel(image, 13)
    count = {40: 396, 100: 40, 340: 5}[patch]
    points = all_points(22, 18)[:, torch.linspace(0, 395, count).long()].expand(2, -1, 2)
    single, _ = net(net.patches(image, points))
    found = dense[torch.arange(2)[:, None], :, points[..., 0], points[..., 1]].flatten(0, 1)
    assert single.std(0).min() > 1e-2
    torch.testing.assert_close(found, single, atol=1e-5, rtol=1e-5)


def test_patchwise_is_every_patch_and_takes_a_mean_off():
    net, image = classifier(40, "cross"), torch.rand(2, 1, 6, 5)
    mean = torch.rand(40, 8)
    logits, _ = net(net.patches(image, all_points(6, 5).expand(2, -1, 2)) - mean)
    expected = logits.view(2, 6, 5, 2).movedim(-1, 1)
    torch.testing.assert_close(net.patchwise(image, range(6), mean), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(net.patchwise(image, range(6)), expected, atol=1e-3)


def test_blocks_hold_one_item_and_one_tile():
    net, seen = classifier(40, "cross"), []
    net.described = lambda image, y, x, real=net.described: (
        seen.append((len(image), len(y), len(x))) or real(image, y, x)
    )
    with torch.inference_mode():
        net.every_pixel(torch.rand(3, 1, 20, 30), 16)
    assert len(seen) == 3 * 4 * 2 and max(max(one) for one in seen) == 16 and {one[0] for one in seen} == {1}


def test_patches_are_classified_a_few_at_a_time():
    net, seen = classifier(40, "cross"), []
    net.stem.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    with torch.inference_mode():
        net.patchwise(torch.rand(2, 1, 10, 30), range(10))
    assert max(seen) == 2 * 64 and sum(seen) == 2 * 2 * 300


def test_tiles_are_bounded_and_cover_every_pixel_once():
    asked = []

    def classify(rows, columns):
        asked.append((len(rows), len(columns)))
        return numbered(10, 7)[..., rows.start : rows.stop, columns.start : columns.stop]

    assert torch.equal(in_tiles((10, 7), 4, classify), numbered(10, 7))
    assert max(max(pair) for pair in asked) == 4 and sum(h * w for h, w in asked) == 70


@pytest.mark.parametrize("crop", TURNED)
def test_dense_survives_bf16(crop):
    net, image = classifier(40, crop), torch.rand(1, 1, 20, 20)
    exact = net.dense(image, range(20), range(20))
    with torch.autocast("cpu", torch.bfloat16):
        rough = net.dense(image, range(20), range(20)).float()
    assert torch.isfinite(rough).all()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_every_channel_is_looked_at():
    plan = BARS[40]
    net, image = PatchClassifier(3, plan, (False, True)), torch.rand(1, 3, 16, 16)
    assert net.dense(image, range(16), range(16)).shape == (1, 2, 16, 16)
    changed = image.clone()
    changed[:, 2] = 0
    points = all_points(16, 16)[:, :4]
    assert not torch.allclose(net(net.patches(image, points))[0], net(net.patches(changed, points))[0])


# ---------------------------------------------------------------- where to look


def test_offsets_and_shares_are_those_of_the_source():
    assert list(OFFSETS) == np.cumsum(range(1, 7)).tolist()
    assert list(SHARES) == pytest.approx([0.15 - 0.015 * n for n in range(6)])


def test_edge_by_hand():
    mask = torch.zeros(1, 1, 7, 7)
    mask[..., 2:7, 1:6] = 1  # reaches the border below
    edge = mask.clone()
    edge[..., 3:7, 2:5] = 0
    assert torch.equal(edge_of(mask), edge)
    assert edge_of(torch.ones(1, 1, 5, 5)).sum() == 0 and edge_of(torch.zeros(1, 1, 5, 5)).sum() == 0


def test_core_grid_by_hand():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 10:51, 10:51] = 1  # centre (30, 30), 20 to every edge: a square of 12 about it
    expected = torch.zeros_like(mask)
    expected[..., 18:43:6, 18:43:6] = 1
    assert torch.equal(core_grid(mask, edge_of(mask)), expected)


def test_density_of_one_pixel_by_hand():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 30, 33] = 1
    expected = torch.zeros_like(mask)
    expected[..., 30, 33] = 0.4 + 1  # of the edge and of the grid
    for offset, share in ((1, 0.15), (3, 0.135), (6, 0.12), (10, 0.105), (15, 0.09), (21, 0.075)):
        for y in (-offset, 0, offset):
            for x in (-offset, 0, offset):
                expected[..., 30 + y, 33 + x] += share if (y, x) != (0, 0) else 0
    torch.testing.assert_close(density(mask), expected)


def test_density_adds_up_inside_the_image_and_belongs_to_the_item():
    one, two = disc(8), disc(5, center=(3, 60))
    total = edge_of(one).sum() * (0.4 + 8 * sum(SHARES)) + core_grid(one, edge_of(one)).sum()
    assert density(one).sum() == pytest.approx(total.item(), rel=1e-5)
    both = density(torch.cat([one, two]))
    assert torch.equal(both[:1], density(one)) and torch.equal(both[1:], density(two))


@pytest.mark.parametrize("count", [10, 25])
def test_points_are_balanced_in_every_image(count):
    mask = torch.cat([disc(2), disc(20), disc(28)])
    _, target = Sampling(0.5, 0.25).points(torch.rand(3, 1, 64, 64), mask, torch.rand(3, count))
    assert target.view(3, count).sum(1).tolist() == [count // 2] * 3


def test_points_and_classes_agree():
    label = disc(9).to(torch.int16) * 3
    points, target = Sampling(0.3, 0.3).points(torch.rand(1, 1, 64, 64), label, torch.rand(1, 200))
    assert torch.equal(target, (labels_at(label, points) == 3).long()) and target.sum() == 100


@pytest.mark.parametrize("value", [0, 1])
def test_image_of_one_class_gives_points_of_that_class(value):
    label = torch.full((2, 1, 32, 32), value)
    label[1, :, :8] = 1 - value
    points, target = Sampling(0.5, 0.25).points(torch.rand(2, 1, 32, 32), label, torch.rand(2, 20))
    assert target.view(2, 20).sum(1).tolist() == [20 * value, 10]
    assert points.min() >= 0 and points.max() <= 31


def test_near_points_stay_near_the_edge_and_others_go_anywhere():
    mask, image = disc(8, size=128, center=(30, 30)), torch.rand(1, 1, 128, 128)
    uniform = torch.rand(1, 4000)

    def farthest(alike, anywhere):
        points, _ = Sampling(alike, anywhere).points(image, mask, uniform)
        return (points - 30).abs().amax().item()

    assert farthest(0.0, 0.0) <= 8 + 21
    assert farthest(0.0, 1.0) == 97 and farthest(1.0, 0.0) == 97


def test_anywhere_is_even_over_the_background():
    mask = disc(10)
    points, _ = Sampling(0.0, 1.0).points(torch.rand(1, 1, 64, 64), mask, torch.rand(1, 40000))
    counts = torch.zeros(64, 64).index_put_(tuple(points[0, 20000:].T), torch.ones(()), accumulate=True)
    assert counts[mask[0, 0] > 0].sum() == 0
    quarters = counts.view(2, 32, 2, 32).sum((1, 3)) / (1 - mask[0, 0]).view(2, 32, 2, 32).sum((1, 3))
    assert (quarters / quarters.mean() - 1).abs().max() < 0.05


def test_anywhere_is_even_over_the_object():
    mask = disc(20)
    points, _ = Sampling(0.0, 1.0).points(torch.rand(1, 1, 64, 64), mask, torch.rand(1, 40000))
    off_centre = (points[0, :20000] - 32).float().norm(dim=1)
    assert (off_centre < 10).float().mean().item() == pytest.approx(0.25, abs=0.02)
    near, _ = Sampling(0.0, 0.0).points(torch.rand(1, 1, 64, 64), mask, torch.rand(1, 40000))
    assert ((near[0, :20000] - 32).float().norm(dim=1) > 18.5).float().mean() > 0.3  # of the area: 0.14


def test_alike_gives_the_background_the_objects_grey():
    image, mask = 0.3 * torch.rand(1, 1, 64, 64), disc(8)
    bright = disc(6, center=(10, 50)) + mask
    image = torch.where(bright > 0, 0.7 + 0.2 * image, image)
    weight = alike(image, mask)
    assert weight[mask > 0].sum() == 0
    looks_alike = (bright - mask) > 0
    assert weight[looks_alike].sum() / weight.sum() == pytest.approx(1.0)
    points, target = Sampling(1.0, 0.0).points(image, mask, torch.rand(1, 400))
    drawn = image[0, 0, points[0, :, 0], points[0, :, 1]]
    assert drawn[target == 0].mean() == pytest.approx(drawn[target == 1].mean().item(), abs=0.02)


def test_alike_falls_back_on_nothing_else():
    """No background pixel has the object's grey: what the weights leave open is drawn evenly, and is background."""
    mask = disc(8)
    _, target = Sampling(1.0, 0.0).points(mask * 0.9, mask, torch.rand(1, 100))
    assert alike(mask * 0.9, mask).sum() == 0 and target.sum() == 50


def test_pick_never_takes_what_has_no_chance():
    probability = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]])
    uniform = torch.tensor([[0.0, 0.25, 0.5, 0.75, 1 - 2**-24]])
    assert pick(probability, uniform).tolist() == [[1, 1, 3, 3, 3]]


def test_shares_add_up_to_one():
    weight, inside = torch.rand(3, 1, 4, 4), torch.ones(3, 16, dtype=torch.bool)
    inside[2] = False
    weight[1] = 0
    assert shares(weight, inside).sum(1).tolist() == pytest.approx([1, 1, 0])
    assert torch.equal(shares(weight, inside)[1], torch.full((16,), 1 / 16))


def test_points_belong_to_the_item():
    mask, image = torch.cat([disc(4), disc(9), disc(14)]), torch.rand(3, 1, 64, 64)
    whole, part = Stream(7), Stream(7, first=1, total=3)
    device = torch.device("cpu")
    together, _ = Sampling(0.5, 0.2).points(image, mask, whole.rand(3, 25, device=device))
    alone, _ = Sampling(0.5, 0.2).points(image[1:2], mask[1:2], part.rand(1, 25, device=device))
    assert torch.equal(together[1:2], alone)


def test_weights_of_both_classes_are_kept_apart():
    mask, weight = disc(5), torch.zeros(1, 1, 64, 64)
    weight[..., 32, 30], weight[..., 3, 4] = 1, 1
    points = balanced_points((weight, weight), mask, torch.rand(1, 8))
    assert points[0].tolist() == [[32, 30]] * 4 + [[3, 4]] * 4


def test_points_of_phantoms_are_of_both_classes():
    batch = small_data("organs").train.__getitems__(range(4))
    _, target = Sampling(0.5, 0.25).points(batch["image"], batch["label"], torch.rand(4, 24))
    assert target.view(4, 24).sum(1).tolist() == [12] * 4


# ---------------------------------------------------------------- after the classifier


def test_clean_closes_fills_and_keeps_the_largest_part():
    mask = disc(12)
    mask[..., 27:37, 27:37] = 0  # a hole that closing leaves
    mask[..., 32, :32] = 0  # a cut
    mask[..., 5:8, 5:8] = 1  # a speck
    assert torch.equal(cleaned(mask, 0, False, False), mask)
    whole = cleaned(mask, 3, True, True)
    assert whole[0, 0, 27:37, 22:42].min() == 1 and whole[..., 5:8, 5:8].sum() == 0
    assert cleaned(mask, 3, True, False)[..., 5:8, 5:8].sum() == 9
    assert cleaned(mask, 3, False, True)[0, 0, 30:34, 30:34].sum() == 0


def test_closing_leaves_the_border_alone():
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :10, 4:20] = 1
    assert torch.equal(cleaned(mask, 3, True, True), mask)


def test_clean_of_nothing_is_nothing():
    empty = torch.zeros(2, 1, 16, 16)
    assert torch.equal(cleaned(empty, 3, True, True), empty)
    assert cleaned(empty, 3, True, True).dtype == torch.float32
