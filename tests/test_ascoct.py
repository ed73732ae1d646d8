"""The method for half scans against its card: losses, decoding in source pixels, both networks, rivals, thresholds."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from kornia.geometry.subpix import spatial_soft_argmax2d
from torch.nn import functional as F

from workbench import compare, fit, method
from workbench.data.asoct import Scan, cut
from workbench.data.asoct.halves import cases, mirrored
from workbench.errors import InvalidParameter
from workbench.losses.imbalanced import focal, weighted_bce
from workbench.losses.keypoint import (
    decorrelation,
    gaussian,
    intensity,
    known_mean,
    location,
    ramp,
    soft_argmax,
)
from workbench.method import Stream
from workbench.methods import ascoct
from workbench.models.angles import (
    AngleNet,
    PyramidPooling,
    SpurNet,
    around,
    decode,
    framed,
    kept,
    pooled,
    scores,
    settled,
    to_grid,
    to_source,
    turned,
    youden,
)
from workbench.models.encoders import WIDTHS, Pooled, pyramid, resnet
from workbench.study import arms_of

NAMES = ("ascoct", "organisers", "coordinates", "spurcrop", "meanpoint")
ONES = torch.ones(4)


def batch_of(count=4, first=0):
    return small_data("asoct").train.__getitems__(range(first, first + count))


def bodies(model, batch, seed=0):
    """All updates of one batch without a step of any optimizer."""
    model.stream = Stream(seed)
    return {side: (loss, logs) for side, loss, logs in model.updates(batch)}


def points(*pairs):
    return torch.tensor(pairs, dtype=torch.float32)


# ---------------------------------------------------------------- maps and their points


@pytest.mark.parametrize("beta", [1, 4])
@pytest.mark.parametrize("place", [(40.0, 20.0), (31.3, 52.8), (23.5, 23.5), (70.01, 44.99)])
def test_soft_argmax_of_a_gaussian_is_its_center(place, beta):
    heat = gaussian(points(place).double(), (96, 96), 3.0)
    assert heat.shape == (1, 1, 96, 96) and heat.max() <= 1
    assert soft_argmax(heat, beta)[0].tolist() == pytest.approx(place, abs=1e-3)


def test_gaussian_has_peak_one_at_x_and_y_in_this_order():
    heat = gaussian(points((5, 2)), (8, 12), 1.5)
    assert heat.shape == (1, 1, 8, 12)
    assert heat[0, 0, 2, 5] == 1 and heat.argmax() == 2 * 12 + 5
    assert heat[0, 0, 2, 8].item() == pytest.approx(math.exp(-9 / 4.5))


def test_soft_argmax_knows_no_scale_and_agrees_with_an_independent_one():
    heat = torch.rand(3, 1, 12, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(soft_argmax(1e-6 * heat, 4), soft_argmax(heat, 4), atol=1e-3, rtol=0)
    other = spatial_soft_argmax2d(4 * heat.log(), normalized_coordinates=False)[:, 0]
    torch.testing.assert_close(soft_argmax(heat, 4), other, atol=1e-4, rtol=1e-4)


def test_soft_argmax_gradient_is_right_and_finite_where_nothing_is_seen():
    heat = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    exact = lambda h: (h**4 * torch.arange(5)).sum() / (h**4).sum()  # noqa: E731
    (one,) = torch.autograd.grad(soft_argmax(heat, 4)[0, 0], heat)
    (two,) = torch.autograd.grad(exact(heat), heat)
    torch.testing.assert_close(one, two)
    faint = torch.full((1, 1, 4, 4), 1e-9, requires_grad=True)
    soft_argmax(faint, 4).sum().backward()
    assert torch.isfinite(faint.grad).all()


def test_decoding_looks_about_the_peak_alone():
    heat = gaussian(points((30.0, 40.0)), (96, 96), 1.0) + 0.6 * gaussian(points((70.0, 70.0)), (96, 96), 6.0)
    assert decode(heat, ONES[:1], 3, 1)[0].tolist() == pytest.approx((30, 40), abs=0.02)
    assert (soft_argmax(heat, 1)[0] - points((30, 40))).norm() > 10, "all of it leads elsewhere"


@pytest.mark.parametrize("place", [(20.2, 31.7), (40.4, 8.9)])
def test_decoding_is_finer_than_the_grid(place):
    heat = gaussian(points(place), (64, 64), 1.5)
    found = decode(heat, ONES[:1], 3, 4)[0]
    assert (found - points(place)).norm() < 0.03
    assert decode(heat, ONES[:1], 0, 4)[0].tolist() == [round(v) for v in place]


def test_decoding_at_the_border_stays_within():
    heat = gaussian(points((0.0, 63.0)), (64, 64), 2.0)
    x, y = decode(heat, ONES[:1], 3, 4)[0].tolist()
    assert 0 <= x < 1 and 62 < y <= 63


def test_distance_in_source_pixels_is_that_on_the_grid_times_the_scale():
    scale = torch.tensor([998 / 256])
    spur = points((401.5, 733.25))
    grid = to_grid(spur, scale)
    torch.testing.assert_close(to_source(grid, scale), spur)
    found = grid + points((3.0, -4.0))
    batch = {"spur": spur, "known": torch.ones(1)}
    ed = scores(batch, {"point": to_source(found, scale)}, torch.tensor(0.5))["ed"]
    assert ed.item() == pytest.approx(5 * 998 / 256, rel=1e-4)


def test_argmax_on_the_grid_of_256_costs_1_49_source_pixels():
    """Card, section 7: what is lost by the grid alone, for spurs anywhere between pixels."""
    steps = (torch.arange(40) + 0.5) / 40 - 0.5
    grid = torch.cartesian_prod(steps, steps) + 8
    scale = torch.full((len(grid),), 998 / 256)
    found = decode(gaussian(grid, (16, 16), 2.0), scale, 0, 1)
    ed = (found - to_source(grid, scale)).norm(dim=1)
    assert ed.mean().item() == pytest.approx(1.49, abs=0.005)
    truncated = (to_source(grid, scale) - grid.floor() * 998 / 256).norm(dim=1)
    assert truncated.mean() > 2 * ed.mean(), "what the organisers' code does"
    fine = decode(gaussian(grid, (16, 16), 1.5), scale, 3, 4)
    assert (fine - to_source(grid, scale)).norm(dim=1).mean() < 0.15, "what the window gives back"


def test_kept_map_holds_the_peak():
    heat = gaussian(points((33.0, 70.0)), (96, 96), 3.0)
    small = kept(heat)
    assert small.shape == (1, 1, 48, 48) and small.max() == 1 and small.argmax() == 35 * 48 + 16
    assert kept(torch.rand(2, 1, 32, 32)).shape == (2, 1, 32, 32)


# ---------------------------------------------------------------- losses


def test_intensity_is_nothing_for_the_target_and_clearly_something_for_an_empty_map():
    target = gaussian(points((40.0, 50.0)), (96, 96), 3.0)
    assert intensity(target, target, 50.0).item() == 0
    empty = intensity(torch.zeros_like(target), target, 50.0).item()
    weight = 1 + 50 * target
    assert empty == pytest.approx(((weight * target**2).sum() / weight.sum()).item())
    plain = intensity(torch.zeros_like(target), target, 0.0).item()
    assert plain == pytest.approx(F.mse_loss(torch.zeros_like(target), target).item())
    assert empty > 0.05 and plain < 0.005, "a mean squared error is content with nothing"


def test_intensity_prefers_the_target_to_an_empty_background():
    target = gaussian(points((16.0, 16.0)), (32, 32), 2.0)
    half = intensity(0.5 * target, target, 50.0)
    assert 0 < half < intensity(torch.zeros_like(target), target, 50.0)


def test_location_by_hand():
    found, point = points((30.0, 10.0)), points((10.0, 14.0))
    expected = (0.5 * (20 / 40) ** 2 + 0.5 * (4 / 20) ** 2) / 2
    assert location(found, point, (20, 40)).item() == pytest.approx(expected)
    far = location(points((200.0, 0.0)), points((0.0, 0.0)), (20, 40)).item()
    assert far == pytest.approx((200 / 40 - 0.5) / 2), "linear from one side's length on"


def test_ncc_term_is_blind_to_height_and_ground_but_not_to_place():
    target = gaussian(points((16.0, 16.0), (16.0, 16.0), (16.0, 16.0)), (32, 32), 2.0)
    other = gaussian(points((16.0, 16.0), (26.0, 16.0), (16.0, 16.0)), (32, 32), 2.0)
    other[0] = 0.3 * other[0] + 0.1
    other[2] = 1 - other[2]
    close, far, opposite = decorrelation(other, target).tolist()
    assert close == pytest.approx(0, abs=1e-4) and far > 0.9 and opposite == pytest.approx(2, abs=1e-4)
    expected = 1 - torch.corrcoef(torch.stack([other[1].flatten(), target[1].flatten()]))[0, 1]
    assert far == pytest.approx(expected.item(), abs=1e-4)
    assert torch.isfinite(decorrelation(torch.zeros(1, 1, 8, 8), target[:1, :, :8, :8])).all()


def test_location_is_ramped_in_over_the_first_fifth():
    assert [ramp(epoch - 1, 4) for epoch in (1, 2, 3, 5, 20)] == [0, 0.25, 0.5, 1, 1]
    assert ascoct.Config().ramp == ascoct.TINY["epochs"] // 5 and ascoct.PAPER["ramp"] == ascoct.PAPER["epochs"] // 5


def test_focal_and_weighted_entropy_by_hand():
    logits, target = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    p = [1 / (1 + math.exp(-v)) for v in logits.tolist()]
    terms = [
        -0.75 * (1 - p[0]) ** 2 * math.log(p[0]),
        -0.25 * p[1] ** 2 * math.log(1 - p[1]),
        -0.25 * p[2] ** 2 * math.log(1 - p[2]),
    ]
    assert focal(logits, target, 2.0, 0.75).item() == pytest.approx(sum(terms) / 3)
    entropy = [-4 * math.log(p[0]), -math.log(1 - p[1]), -math.log(1 - p[2])]
    assert weighted_bce(logits, target, 4.0).item() == pytest.approx(sum(entropy) / 3)


def test_mean_over_known_points():
    losses = torch.tensor([1.0, 3.0, 100.0])
    assert known_mean(losses, torch.tensor([1.0, 1.0, 0.0])) == 2
    assert known_mean(losses, torch.zeros(3)) == 0


LOCALIZERS = ("ascoct", "organisers", "coordinates", "spurcrop")


@pytest.mark.parametrize("name", LOCALIZERS)
def test_masked_points_give_no_gradient(name):
    batch, model = batch_of(), small_method(name)
    model.epoch = 9
    batch["known"] = torch.tensor([1.0, 0.0, 1.0, 0.0])
    batch["spur"] = torch.where(batch["known"][:, None] > 0, batch["spur"], -1.0)
    batch["image"] = batch["image"].clone().requires_grad_()
    loss, _ = bodies(model, batch)["localizer"]
    (grad,) = torch.autograd.grad(loss, batch["image"])
    seen = grad.abs().flatten(1).sum(1)
    assert (seen[[1, 3]] == 0).all() and (seen[[0, 2]] > 0).all()
    moved = batch | {"spur": torch.where(batch["known"][:, None] > 0, batch["spur"], 17.0)}
    assert bodies(model, moved)["localizer"][0] == loss, "what stands where a point is unknown does not matter"
    none = batch | {"known": torch.zeros(4), "image": batch["image"].detach()}
    loss, _ = bodies(model, none)["localizer"]
    loss.backward()
    grads = [p.grad for p in model.localizer.parameters() if p.grad is not None]
    assert loss == 0 and grads and not any(g.any() for g in grads)


def test_terms_by_hand():
    batch, model = batch_of(), small_method("ascoct", ncc_weight=0.5, location_weight=2.0, turn=0.0)
    spur, known = to_grid(batch["spur"], batch["scale"]), batch["known"]
    heat = model.localizer(batch["image"])
    target = gaussian(spur, (32, 32), 3.0)
    place = known_mean(location(soft_argmax(heat, 4), spur, (32, 32)), known)
    for epoch, share in ((1, 0.0), (3, 0.5), (9, 1.0)):
        model.epoch = epoch
        loss, logs = bodies(model, batch)["localizer"]
        expected = {
            "intensity": known_mean(intensity(heat, target, 50.0), known),
            "location": 2.0 * share * place,
            "ncc": 0.5 * known_mean(decorrelation(heat, target), known),
        }
        assert {k: v.item() for k, v in logs.items()} == pytest.approx({k: v.item() for k, v in expected.items()})
        assert loss.item() == pytest.approx(sum(v.item() for v in expected.values()))


def test_mse_arm_is_the_plain_mean_squared_error():
    batch, model = batch_of(), small_method("ascoct", turn=0.0, **ascoct.ABLATIONS["mse"])
    loss, logs = bodies(model, batch)["localizer"]
    target = gaussian(to_grid(batch["spur"], batch["scale"]), (32, 32), 3.0)
    squares = (model.localizer(batch["image"]) - target).square().mean((1, 2, 3))
    assert set(logs) == {"intensity"} and loss.item() == pytest.approx(known_mean(squares, batch["known"]).item())


# ---------------------------------------------------------------- training


@pytest.mark.parametrize(("side", "other"), [("classifier", "localizer"), ("localizer", "classifier")])
def test_networks_are_trained_separately(side, other):
    for name in ("ascoct", "organisers", "spurcrop"):
        model = small_method(name)
        assert set(model.optimizers()) == {"classifier", "localizer"}
        loss, _ = bodies(model, batch_of())[side]
        model.zero_grad()
        loss.backward()
        assert all(p.grad is None for p in getattr(model, other).parameters()), name
        assert any(p.grad.any() for p in getattr(model, side).parameters() if p.grad is not None)


def test_localizer_alone_becomes_what_it_becomes_beside_the_classifier():
    """So that an ablation of one network needs no training of the other."""
    train = small_data("asoct").train
    both, alone = (fit.fit(small_method("ascoct", task=task), train, FLOAT32) for task in ("both", "localization"))
    weights = both.localizer.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in alone.localizer.state_dict().items())


def test_rates_are_those_of_their_networks():
    sides = small_method("ascoct", classifier_lr=1e-4, localizer_lr=1e-3).optimizers()
    assert {name: one.param_groups[0]["lr"] for name, one in sides.items()} == {"classifier": 1e-4, "localizer": 1e-3}


@pytest.mark.parametrize("name", ["ascoct", "organisers"])
def test_task_leaves_out_the_other_network(name):
    batch = batch_of()
    only = {"classification": ("classifier", {"score"}), "localization": ("localizer", {"point", "feature"})}
    for task, (side, keys) in only.items():
        model = small_method(name, task=task)
        assert set(bodies(model, batch)) == {side} == {key for key, _ in model.named_children()}
        prediction = model.eval().predict(batch)
        assert set(prediction) == keys
        found = model.score(batch, prediction)
        assert ("ed" in found) == (task == "localization") and ("accuracy" in found) == (task == "classification")
        assert model.pooled(found).keys() == ({"auc", "f1"} if task == "classification" else set())


def test_shuffled_labels_are_learned_in_place_of_the_true_ones():
    batch = batch_of(8)
    true = small_method("ascoct")
    batch["shuffled"] = 1 - batch["closed"]
    flipped = small_method("ascoct", shuffled=True)
    exchanged = batch | {"closed": batch["shuffled"]}
    assert bodies(flipped, batch)["classifier"][0] == bodies(true, exchanged)["classifier"][0]
    assert bodies(flipped, batch)["classifier"][0] != bodies(true, batch)["classifier"][0]


def test_every_ablation_changes_the_loss_or_the_network():
    batch = batch_of(8)
    batch["shuffled"] = 1 - batch["closed"]
    base = small_method("ascoct")
    base.epoch = 9
    for name, change in ascoct.ABLATIONS.items():
        model = small_method("ascoct", **change)
        model.epoch = 9
        (side,) = bodies(model, batch)
        assert bodies(model, batch)[side][0] != bodies(base, batch)[side][0], name


def test_dropout_is_for_training_alone_and_keeps_the_mean():
    net = AngleNet("tiny", dropout=0.5).eval()
    image, draw = torch.rand(2, 1, 32, 32), torch.rand(2, WIDTHS[-1])
    features = net.body(image)
    expected = net.head(features * (draw >= 0.5) * 2)[:, 0]
    torch.testing.assert_close(net(image, draw), expected)
    torch.testing.assert_close(net(image), net.head(features)[:, 0])


@pytest.mark.parametrize("name", ["ascoct", "organisers", "coordinates", "spurcrop"])
def test_a_few_halves_are_learned_by_heart(name):
    batch = batch_of(8)
    model = small_method(name, turn=0.0, **({"flip": False} if name == "organisers" else {}))
    before = model.eval().score(batch, model.predict(batch))["ed"].nanmean()
    sides = model.train().optimizers()
    for number in range(60):
        model.epoch = 9
        fit.step(model, sides, [batch], number, FLOAT32, bf16=False)
    after = model.eval().score(batch, model.predict(batch))
    limit = 7.0 if name == "coordinates" else 4.0  # source pixels; a pixel of this grid has three
    assert after["ed"].nanmean() < min(limit, before / 2)
    if name != "coordinates":
        assert model.pooled(after)["auc"].nanmean() == 1


# ---------------------------------------------------------------- images and points together


def dot(point, side=33):
    image = torch.zeros(1, 1, side, side)
    image[0, 0, int(point[1]), int(point[0])] = 1
    return image


def test_flip_takes_x_to_w_minus_1_minus_x():
    image, point = torch.rand(1, 1, 20, 20), points((3.0, 12.0))
    mirror, moved, known = turned(image, point, torch.ones(1), torch.tensor([[0.5, 0.1]]), 0.0, True)
    torch.testing.assert_close(mirror, image.flip(3))
    assert moved.tolist() == [[16.0, 12.0]] and known.item() == 1
    same, point_too, _ = turned(image, point, torch.ones(1), torch.tensor([[0.5, 0.9]]), 0.0, True)
    torch.testing.assert_close(same, image)
    assert point_too.tolist() == [[3.0, 12.0]]


@pytest.mark.parametrize("flip", [0.1, 0.9])
def test_quarter_turn_is_exact(flip):
    image, place = torch.rand(1, 1, 33, 33), (5, 9)
    image[0, 0, place[1], place[0]] = 9
    draw = torch.tensor([[1.0, flip]])
    seen, moved, _ = turned(image, points(place), torch.ones(1), draw, 90.0, True)
    x, y = moved[0].round().long().tolist()
    assert seen[0, 0, y, x].item() == pytest.approx(9, abs=1e-3)
    images = [(mirror, one) for mirror, one in ((False, image), (True, image.flip(3)))]
    equal = [mirror for mirror, one in images for k in (1, 3) if torch.allclose(seen, one.rot90(k, (2, 3)), atol=1e-4)]
    assert equal == [flip < 0.5]


@pytest.mark.parametrize("draw", [(0.1, 0.2), (0.9, 0.7), (0.4, 0.4)])
def test_spots_move_with_their_images(draw):
    place = (20.5, 12.25)
    image = gaussian(points(place), (33, 33), 2.0)
    seen, moved, known = turned(image, points(place), torch.ones(1), torch.tensor([draw]), 29.0, True)
    assert known.item() == 1 and moved.tolist() != [list(place)]
    torch.testing.assert_close(soft_argmax(seen, 2), moved, atol=0.05, rtol=0)


def test_points_turned_out_of_the_image_become_unknown():
    corner = points((32.0, 32.0), (16.0, 16.0))
    draw = torch.tensor([[1.0, 0.9]] * 2)
    _, _, known = turned(torch.zeros(2, 1, 33, 33), corner, torch.ones(2), draw, 29.0, False)
    assert known.tolist() == [0, 1]


def test_every_item_gets_its_own_turn_and_none_is_the_same_image():
    image = torch.rand(3, 1, 32, 32)
    same = turned(image, points(*[(3, 4)] * 3), torch.ones(3), torch.rand(3, 2), 0.0, False)
    assert same[0] is image
    _, moved, _ = turned(image, points(*[(3, 4)] * 3), torch.ones(3), torch.rand(3, 2), 29.0, False)
    assert len(moved.unique(dim=0)) == 3


def test_frames_are_cut_at_random_in_training_and_in_the_middle_afterwards():
    image = torch.arange(100.0).view(1, 1, 10, 10)
    assert framed(image, 0, 0) is image
    assert torch.equal(framed(image, 0, 4), image[..., 3:7, 3:7])
    corners = torch.tensor([[0.0, 0.0], [0.999, 0.999]])
    one, two = framed(image.repeat(2, 1, 1, 1), 0, 4, corners)
    assert torch.equal(one, image[0, :, :4, :4]) and torch.equal(two, image[0, :, 6:, 6:])
    assert framed(torch.rand(2, 1, 64, 64), 32, 24, torch.rand(2, 2)).shape == (2, 1, 24, 24)
    with pytest.raises(InvalidParameter, match="crop: expected at most view=0 pixels"):
        ascoct.Config(crop=8)


def test_crops_lie_about_their_point():
    image, center = dot((20, 12)), points((20.0, 12.0))
    crop = around(image, center, 9)
    assert crop.shape == (1, 1, 9, 9) and crop[0, 0, 4, 4] == 1 and crop.sum() == 1
    off = around(image, points((19.5, 12.0)), 9)
    assert off[0, 0, 4, 4:6].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert around(image, points((0.0, 0.0)), 9)[0, 0, :4].abs().sum() == 0, "nothing beyond the border"


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("ppm", [0, 3, 4])
@pytest.mark.parametrize("skips", [True, False])
def test_pooling_and_skips_can_be_switched(ppm, skips):
    torch.manual_seed(0)
    net = SpurNet("tiny", ppm, skips)
    heat = net(torch.rand(2, 1, 48, 48))
    assert heat.shape == (2, 1, 48, 48) and heat.dtype == torch.float32 and heat.min() > 0 and heat.max() < 1
    assert isinstance(net.pool, PyramidPooling) == bool(ppm)
    if ppm:
        assert [one[0].in_channels for one in net.pool.parts] == [64] * ppm
        assert net.pool.bins == ((1, 2, 3), (1, 2, 3, 6))[ppm - 3]
    widths = [block[0].in_channels for block in net.up]
    assert widths == ([64 + 32, 32 + 16, 16 + 8] if skips else [64, 32, 16])


def test_without_skips_only_the_deepest_features_reach_the_map():
    for skips in (True, False):
        torch.manual_seed(0)
        net, image = SpurNet("tiny", 3, skips), torch.rand(1, 1, 48, 48)
        found = net.encoder(image)
        net.encoder.forward = lambda _, found=found: [*(f * 0 for f in found[:-1]), found[-1]]
        changed = net(image)
        net.encoder.forward = lambda _, found=found: found
        assert torch.equal(changed, net(image)) != skips


def test_pyramid_pooling_sees_the_whole_image():
    torch.manual_seed(0)
    pool, features = PyramidPooling(8, (1, 2, 3)), torch.rand(1, 8, 6, 6)
    other = features.clone()
    other[..., 5, 5] += 1
    assert pool(features).shape == (1, 8, 6, 6)
    assert not torch.equal(pool(features)[..., 0, 0], pool(other)[..., 0, 0])


def test_heat_maps_begin_almost_empty():
    torch.manual_seed(0)
    assert SpurNet("tiny", 3, True)(torch.rand(4, 1, 96, 96)).median() < 0.15


def test_tiny_encoder_loses_nothing_in_its_first_stride():
    features = pyramid("tiny")(torch.rand(2, 1, 64, 64))
    assert [tuple(f.shape[1:]) for f in features] == [(8, 32, 32), (16, 16, 16), (32, 8, 8), (64, 4, 4)]
    assert pyramid("tiny").levels[0][0].in_channels == 4


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "efficientnet-b0", "efficientnet-b3"])
def test_named_encoders_have_five_levels_and_learn(name):
    torch.manual_seed(0)
    net = SpurNet(name, 4, True)
    features = net.encoder(torch.rand(2, 1, 64, 64))
    assert [f.shape[2] for f in features] == [32, 16, 8, 4, 2]
    assert tuple(f.shape[1] for f in features) == tuple(net.encoder.widths)
    net(torch.rand(2, 1, 64, 64)).mean().backward()
    assert not [key for key, p in net.named_parameters() if p.grad is None], "no weights without use"


def test_revised_resnet_has_a_deep_stem():
    net, plain = resnet("resnet18", "deep"), resnet("resnet18", "plain")
    convs = [one for one in net.conv1 if isinstance(one, torch.nn.Conv2d)]
    assert [(c.kernel_size, c.stride) for c in convs] == [((3, 3), (s, s)) for s in (2, 1, 1)]
    assert plain.conv1.kernel_size == (7, 7)
    image = torch.rand(2, 1, 64, 64)
    assert net(image).shape == plain(image).shape == (2, 512)
    assert net.conv1(image).shape == plain.conv1(image).shape


def test_squeeze_and_excitation_is_in_every_block():
    found = resnet("resnet18", squeeze=True)
    kinds = [type(part).__name__ for part in found.modules()]
    assert kinds.count("ChannelSELayer") == 8
    assert found.eval()(torch.rand(1, 1, 64, 64)).shape == (1, 512)
    assert Pooled("resnet50", squeeze=True).out_features == 2048


def test_paper_scale_is_built_and_predicts():
    known = set(ascoct.Config.__dataclass_fields__) & set(ascoct.PAPER)
    config = ascoct.Config(**{key: ascoct.PAPER[key] for key in known})
    assert (config.network, config.encoder, config.ppm, config.stem) == ("resnet152", "efficientnet-b3", 4, "deep")
    model = ascoct.Ascoct(config)
    batch = {"image": torch.rand(2, 1, 128, 128), "scale": torch.full((2,), 998 / 128), "known": torch.ones(2)}
    batch |= {"spur": points((200, 300), (400.5, 20)), "closed": torch.tensor([0.0, 1.0])}
    assert all(torch.isfinite(loss) for loss, _ in bodies(model, batch).values())
    with torch.inference_mode():
        found = model.eval().predict(batch)
    assert found["point"].shape == (2, 2) and found["score"].shape == (2,)
    assert 40e6 < sum(p.numel() for p in model.classifier.parameters()) < 70e6


@pytest.mark.parametrize("name", ["ascoct", "organisers", "coordinates", "spurcrop", "meanpoint"])
def test_equal_halves_give_equal_outputs(name):
    half = np.random.default_rng(0).random((64, 66))
    spurs = ((20.5, 30.0), (mirrored(20.5, 132), 30.0))
    scan = Scan(np.concatenate([half, half[:, ::-1]], 1), spurs, (True, True), "scan", "patient")
    batch = cases(cut(scan, 32)).__getitems__([0, 1])
    model = small_method(name)
    list(model.updates(batch_of()))
    with torch.inference_mode():
        found = model.eval().predict(batch)
        values = model.score(batch, found)
    for value in (*found.values(), *values.values()):
        torch.testing.assert_close(value[0], value[1], equal_nan=True)


# ---------------------------------------------------------------- thresholds and scores


def test_youden_by_hand():
    score = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    label = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    best = max(
        ((score[label == 1] >= t).float().mean() + (score[label == 0] < t).float().mean(), t) for t in (0.75, 0.55)
    )
    threshold = youden(score, label)
    reached = (score[label == 1] >= threshold).float().mean() + (score[label == 0] < threshold).float().mean()
    assert reached == best[0]
    for one in (torch.ones(6), torch.zeros(6)):
        assert youden(score, one) == 0.5
    assert youden(torch.full((6,), 0.3), label) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_youden_is_the_best_of_all_thresholds(seed):
    rng = torch.Generator().manual_seed(seed)
    label = (torch.rand(40, generator=rng) < 0.3).float()
    score = (0.3 * label + torch.rand(40, generator=rng)).round(decimals=1)
    gain = lambda t: (score[label == 1] >= t).float().mean() - (score[label == 0] >= t).float().mean()  # noqa: E731
    assert gain(youden(score, label)) == max(gain(t) for t in torch.linspace(-0.05, 1.35, 15))


@pytest.mark.parametrize("name", ["ascoct", "organisers", "spurcrop", "meanpoint"])
def test_threshold_is_settled_on_what_is_given(name):
    model = small_method(name)
    assert model.threshold == 0.5
    batches = [{"closed": torch.tensor([0.0, 1.0])}, {"closed": torch.tensor([0.0, 1.0])}]
    found = [{"score": torch.tensor([0.1, 0.3])}, {"score": torch.tensor([0.05, 0.2])}]
    model.settle(iter(zip(batches, found)))
    assert model.threshold.item() == pytest.approx(0.15)
    assert "threshold" in model.state_dict()
    assert settled(iter([])) == 0.5


def test_scores_by_hand():
    batch = {"spur": points((10, 10), (10, 10), (-1, -1)), "known": torch.tensor([1.0, 1.0, 0.0])}
    batch["closed"] = torch.tensor([1.0, 0.0, 0.0])
    prediction = {"point": points((13, 14), (10, 17), (0, 0)), "score": torch.tensor([0.4, 0.2, 0.6])}
    found = scores(batch, prediction, torch.tensor(0.3))
    lists = {key: [None if v != v else v for v in value.tolist()] for key, value in found.items()}
    assert lists["ed"] == [5, 7, None]
    assert [lists[f"sdr{r}"] for r in (5, 10, 20)] == [[1, 0, None], [1, 1, None], [1, 1, None]]
    assert lists["accuracy"] == [1, 1, 0]
    assert lists["sensitivity"] == [1, None, None] and lists["specificity"] == [None, 1, 0]
    assert lists["label"] == [1, 0, 0]
    assert compare.better("ed") == -1 and compare.better("sdr5") == 1
    assert "label" not in compare.metrics(pd.DataFrame(lists))


@pytest.mark.parametrize("seed", range(3))
def test_parts_have_the_metrics_for_means(seed):
    rng = torch.Generator().manual_seed(seed)
    label = (torch.rand(50, generator=rng) < 0.3).float()
    score = (0.2 * label + torch.rand(50, generator=rng)).round(decimals=1).clamp(0, 1)
    found = scores({"closed": label}, {"score": score}, torch.tensor(0.55))
    parts = pooled(found)
    yes, no = score[label == 1][:, None], score[label == 0]
    auc = ((yes > no).float() + 0.5 * (yes == no).float()).mean()
    assert parts["auc"].nanmean().item() == pytest.approx(auc.item())
    called = score >= 0.55
    hits = (called & (label == 1)).sum()
    assert parts["f1"].nanmean().item() == pytest.approx((2 * hits / (called.sum() + label.sum())).item())
    assert found["accuracy"].mean() == (called == (label == 1)).float().mean()
    assert all(parts[key].isnan().tolist() == (label == 0).tolist() for key in parts)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_alone_has_no_curve(label):
    found = scores({"closed": torch.full((4,), label)}, {"score": torch.rand(4)}, torch.tensor(0.5))
    assert pooled(found)["auc"].isnan().all()


def test_nothing_found_is_f1_zero():
    found = scores({"closed": torch.tensor([1.0, 1.0, 0.0])}, {"score": torch.zeros(3)}, torch.tensor(0.5))
    assert pooled(found)["f1"].nanmean() == 0


# ---------------------------------------------------------------- rivals


def test_mean_point_is_the_mean_in_parts_of_the_side():
    model = small_method("meanpoint")
    batch = {"image": torch.zeros(3, 1, 32, 32), "scale": torch.tensor([1.0, 2.0, 2.0])}
    batch |= {"spur": points((7.5, 3.5), (31.5, 15.5), (-1, -1)), "known": torch.tensor([1.0, 1.0, 0.0])}
    batch["closed"] = torch.tensor([1.0, 0.0, 0.0])
    assert not list(model.updates(batch))
    found = model.predict(batch)
    x, y = (8 / 32 + 32 / 64) / 2, (4 / 32 + 16 / 64) / 2
    expected = [[32 * x - 0.5, 32 * y - 0.5], [64 * x - 0.5, 64 * y - 0.5], [64 * x - 0.5, 64 * y - 0.5]]
    torch.testing.assert_close(found["point"], torch.tensor(expected))
    assert found["score"].tolist() == pytest.approx([1 / 3] * 3)


def test_mean_point_does_not_depend_on_how_often_it_looks():
    once, twice = small_method("meanpoint"), small_method("meanpoint")
    data = small_data("asoct")
    for epochs, model in ((1, once), (3, twice)):
        fit.fit(model, data.train, fit.Budget(epochs=epochs, batch=4, precision="float32"))
    batch = batch_of()
    torch.testing.assert_close(once.predict(batch)["point"], twice.predict(batch)["point"])


def test_organisers_take_the_highest_pixel():
    model = small_method("organisers")
    assert model.config.radius == 0 and model.config.sigma == 3.0 and model.config.flip
    batch = batch_of()
    grid = to_grid(model.eval().predict(batch)["point"], batch["scale"])
    torch.testing.assert_close(grid, grid.round(), atol=1e-4, rtol=0)


def test_organisers_noise_and_flip_reach_the_localizer():
    batch = batch_of()
    losses = [
        bodies(small_method("organisers", **c), batch)["localizer"][0].item()
        for c in ({}, {"flip": False}, {"noise": 0.1})
    ]
    assert len(set(losses)) == 3


def test_organisers_classifier_learns_by_plain_cross_entropy():
    batch, model = batch_of(), small_method("organisers", turn=0.0, flip=False)
    logits = model.classifier(batch["image"])
    expected = F.binary_cross_entropy_with_logits(logits, batch["closed"])
    assert bodies(model, batch)["classifier"][0].item() == pytest.approx(expected.item())


def test_coordinates_are_parts_of_the_side():
    batch, model = batch_of(), small_method("coordinates").eval()
    with torch.inference_mode():
        found = model.localizer(batch["image"])
        expected = to_source(32 * found, batch["scale"])
        torch.testing.assert_close(model.predict(batch)["point"], expected)


def test_spur_crop_is_classified_about_the_found_point_and_learned_about_the_true_one():
    batch, model = batch_of(), small_method("spurcrop", cut=16, shown=32, shift=0.0, turn=0.0, dropout=0.0)
    seen = []
    model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    batch["known"] = torch.tensor([1.0, 1.0, 1.0, 0.0])
    bodies(model, batch)
    spur = to_grid(batch["spur"], batch["scale"])
    torch.testing.assert_close(seen[0][:3], model.cropped(batch["image"], spur)[:3])
    found = model.eval().predict(batch)["point"]
    torch.testing.assert_close(seen[1], model.cropped(batch["image"], to_grid(found, batch["scale"])))
    torch.testing.assert_close(seen[0][3], seen[1][3], atol=1e-4, rtol=0)
    assert seen[0].shape == (4, 1, 32, 32)


# ---------------------------------------------------------------- the card


def test_claims_name_arms_that_exist():
    arms = set(arms_of("ascoct"))
    named = {claim.other for claim in ascoct.CLAIMS if claim.other} | {c.arm for c in ascoct.CLAIMS if c.arm}
    assert named <= arms and set(ascoct.RIVALS + ascoct.FLOORS) <= set(method.names())
    must = {(claim.metric, claim.other) for claim in ascoct.CLAIMS if claim.kind == "must"}
    assert must == {("ed", "mse"), ("ed", "meanpoint"), ("auc", None), ("auc", "shuffled")}
    assert {"no_ppm", "no_skips"} <= {claim.other for claim in ascoct.CLAIMS if claim.kind == "reported"}


def test_settings_are_those_of_the_card():
    tiny, paper = ascoct.Config(), ascoct.PAPER
    assert (tiny.sigma, tiny.kappa, tiny.beta, tiny.radius, tiny.ppm) == (3.0, 50.0, 4, 3, 3)
    assert (tiny.gamma, tiny.alpha, tiny.pos_weight, tiny.dropout) == (2.0, 0.75, 4.0, 0.5)
    assert (tiny.classifier_lr, tiny.localizer_lr) == (2e-3, 5e-3) and WIDTHS == (8, 16, 32, 64)
    assert (paper["classifier_lr"], paper["localizer_lr"], paper["view"], paper["crop"]) == (1e-4, 1e-3, 256, 224)
    assert paper["sigma"] / paper["size"] == 10 / 256
