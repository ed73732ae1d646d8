"""Crossover-Net against its source: the networks, the repaired loss, the ablations; and its rivals."""

import dataclasses
import math

import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from torch import nn

from workbench import fit
from workbench.baselines import crossbar, unet
from workbench.baselines.crossbar import PLANS, covered, covering
from workbench.errors import InvalidImage, InvalidParameter
from workbench.method import Stream
from workbench.methods import crossover
from workbench.methods.crossover import (
    ABLATIONS,
    CE,
    SQUARES,
    TURNED,
    Config,
    Crossover,
    consistency,
    distance,
    diversity,
    normalized,
    rows_of,
)
from workbench.models.patches import BARS, PatchClassifier

FIELDS = {40: (2, 14), 100: (4, 28), 340: (8, 66)}  # a row of the features: its step and its field, pixels


def make(**changes):
    return small_method("crossover", **changes)


def batch_of(count=4, kind="organs"):
    return small_data(kind).train.__getitems__(range(count))


def count_of(module):
    return sum(p.numel() for p in module.parameters())


def run(model, batch=None, seed=0):
    """The loss and the logs of one batch."""
    model.stream = Stream(seed)
    ((_, loss, logs),) = model.updates(batch or batch_of())
    return loss, {key: value.item() for key, value in logs.items()}


def thin(plan):
    """The plan with two channels everywhere: what a row sees does not depend on them."""
    layers = {key: tuple((h, w, 2 if out else 0) for h, w, out in getattr(plan, key)) for key in ("stem", "tail")}
    return plan._replace(**layers)


# ---------------------------------------------------------------- the networks


def test_parameters_of_the_published_network():
    assert count_of(Crossover(Config(patch=100))) == 364_458


@pytest.mark.parametrize(("patch", "count"), [(40, 29_074), (340, 705_098)])
def test_parameters_of_the_other_sizes(patch, count):
    assert count_of(Crossover(Config(patch=patch))) == count


@pytest.mark.parametrize("patch", BARS)
def test_square_has_the_area_of_a_bar_and_the_parameters_of_the_cross(patch):
    cross, square = (count_of(Crossover(Config(patch=patch, **change))) for change in ({}, ABLATIONS["square"]))
    assert abs(square / cross - 1) < 0.002
    assert abs(math.prod(SQUARES[patch].shape) / math.prod(BARS[patch].shape) - 1) < 0.02
    assert len({*SQUARES[patch].shape}) == 1


@pytest.mark.parametrize("patch", BARS)
def test_single_patches_lack_the_second_half_of_the_head_only(patch):
    cross, vertical, across = (count_of(Crossover(Config(patch=patch, **c))) for c in ({}, *bars()))
    assert vertical == across == cross - 2 * BARS[patch].tail[-1][2]


def bars():
    return ABLATIONS["vertical"], ABLATIONS["horizontal"]


def test_stages_of_the_published_network():
    maps, seen = torch.rand(1, 1, 100, 20), []
    net = Crossover(Config(patch=100)).net
    for module in (*net.stem, *net.tail):
        maps = module(maps)
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            seen.append((*maps.shape[1:],))
    assert seen == [
        (16, 96, 18), (36, 92, 16), (36, 46, 8), (64, 42, 6), (64, 21, 3), (64, 19, 1), (64, 13, 1), (64, 7, 1),
        (500, 1, 1),
    ]  # fmt: skip
    assert net.head.in_features == 1000
    assert not isinstance(net.tail[-1], nn.ReLU), "the last convolution's ReLU comes after both are put together"


@pytest.mark.parametrize(("patch", "shape"), [(40, (32, 14, 1)), (100, (64, 19, 1)), (340, (64, 35, 1))])
def test_compared_features_have_one_column(patch, shape):
    net = Crossover(Config(patch=patch)).net
    _, features = net(net.patches(torch.rand(1, 1, 64, 64), torch.tensor([[[3, 60]]])))
    assert features.shape == (2, 1, *shape)


@pytest.mark.parametrize("patch", BARS)
def test_row_k_sees_its_part_of_the_long_axis(patch):
    plan, (step, field) = thin(BARS[patch]), FIELDS[patch]
    torch.manual_seed(1)
    stem, (long, short) = PatchClassifier(1, plan).stem.double(), plan.shape
    for module in stem:
        if isinstance(module, nn.Conv2d):  # positive weights: nothing is lost in a ReLU
            nn.init.uniform_(module.weight, 0.1, 1)
    base = torch.rand(1, 1, long, short).double().repeat(long, 1, 1, 1)
    changed = base.clone()
    changed[torch.arange(long), 0, torch.arange(long)] += 1e6
    differs = (stem(changed) - stem(base)).abs().amax((1, 3)) > 0  # (position, row)
    k = torch.arange(differs.shape[1])
    position = torch.arange(long)[:, None]
    assert torch.equal(differs, (position >= step * k) & (position < step * k + field))


@pytest.mark.parametrize("patch", BARS)
def test_compared_rows_lie_about_the_crossing_and_off_it(patch):
    plan, (step, field) = BARS[patch], FIELDS[patch]
    (long, short), (first, end) = plan.shape, plan.overlap
    crossing = range((long - short) // 2, (long + short) // 2)
    assert step * first <= crossing.start and step * (end - 1) + field >= crossing.stop
    last = (long - field) // step
    assert step * (plan.ends - 1) + field <= crossing.start
    assert step * (last - plan.ends + 1) >= crossing.stop


def test_compared_rows_of_the_published_network():
    features = torch.arange(19.0).expand(2, 64, 19)[..., None]
    overlap, ends = rows_of(features, BARS[100])
    assert overlap[0, 0].tolist() == [7, 8, 9, 10]
    assert ends.shape == (2, 128, 3)
    assert ends[1, 0].tolist() == [0, 1, 2] and ends[1, 64].tolist() == [16, 17, 18]
    assert rows_of(torch.arange(14.0).expand(1, 32, 14)[..., None], BARS[40])[0][0, 0].tolist() == [6, 7]


def test_both_patches_go_through_the_same_convolutions():
    model = make()
    image = torch.rand(1, 1, 50, 50)
    points = torch.tensor([[[10, 30], [25, 25]]])
    _, (v, h) = model.net(model.net.patches(image, points))
    _, (v_turned, h_turned) = model.net(model.net.patches(image.mT, points.flip(-1)))
    assert torch.equal(v, h_turned) and torch.equal(h, v_turned)


def test_horizontal_is_the_vertical_of_the_turned_image():
    vertical, across = (make(**change).eval() for change in bars())
    image = torch.rand(1, 1, 40, 40)
    turned = vertical.predict({"image": image.mT})["score"].mT
    torch.testing.assert_close(across.predict({"image": image})["score"], turned, atol=1e-6, rtol=1e-5)


# ---------------------------------------------------------------- the loss


def released(features):
    """The reshape of the released code, (B, F, rows, 1) -> (B, F, rows): no transposition of a batch."""
    batch, wide, rows, _ = features.shape
    return features.reshape(-1, batch).t().reshape(batch, wide, rows)


def terms_of(patches, net, plan, kind, read=None):
    _, features = net(patches)
    if read is not None:
        features = [read(one)[..., None] for one in features]
    (v_over, v_ends), (h_over, h_ends) = (rows_of(one, plan) for one in features)
    return consistency(v_over, h_over, kind).item(), diversity(v_ends, h_ends, kind).item()


@pytest.fixture(scope="module")
def published():
    torch.manual_seed(0)
    net = Crossover(Config(patch=100)).net
    return net, torch.rand(2, 6, 1, 100, 20)


def altered(patches, first, end):
    """Other values at positions first ... end - 1 of the long axis."""
    changed = patches.clone()
    changed[:, :, :, first:end] = torch.rand_like(changed[:, :, :, first:end])
    return changed


@pytest.mark.parametrize("kind", ["paper", "cosine"])
@torch.inference_mode()
def test_consistency_sees_the_middle_alone(published, kind):
    net, patches = published
    before = terms_of(patches, net, BARS[100], kind)[0]
    outside = altered(altered(patches, 0, 28), 68, 100)
    assert terms_of(outside, net, BARS[100], kind)[0] == pytest.approx(before, abs=1e-6)
    for inside in ((28, 32), (64, 68)):
        assert abs(terms_of(altered(patches, *inside), net, BARS[100], kind)[0] - before) > 3e-6


@pytest.mark.parametrize("kind", ["paper", "cosine"])
@torch.inference_mode()
def test_diversity_sees_the_ends_alone(published, kind):
    net, patches = published
    before = terms_of(patches, net, BARS[100], kind)[1]
    assert terms_of(altered(patches, 36, 64), net, BARS[100], kind)[1] == pytest.approx(before, abs=1e-6)
    assert abs(terms_of(altered(patches, 30, 36), net, BARS[100], kind)[1] - before) > 1e-5


@torch.inference_mode()
def test_the_released_reshape_fails_that_test(published):
    net, patches = published
    outside = altered(altered(patches, 0, 28), 68, 100)
    before, after = (terms_of(p, net, BARS[100], "paper", released)[0] for p in (patches, outside))
    assert abs(after - before) > 1e-4


def test_the_released_reshape_mixes_samples_and_rows():
    index = torch.arange(200 * 64 * 19).view(200, 64, 19, 1)
    overlap = released(index)[..., 7:11]
    sample, row = overlap // (64 * 19), overlap % 19
    assert set(row.flatten().tolist()) == set(range(19))
    assert len(sample[0].unique()) > 90 and len((released(index)[0] // (64 * 19)).unique()) == 200
    kept = rows_of(index.double(), BARS[100])[0].long()
    assert torch.equal(kept // (64 * 19), torch.arange(200)[:, None, None].expand(200, 64, 4))


def test_distance_sums_over_features_and_not_over_the_batch():
    v = torch.zeros(5, 3, 2)
    v[1, :, 0] = torch.tensor([1.0, 2.0, 2.0])
    expected = torch.zeros(5, 2)
    expected[1, 0] = 3
    torch.testing.assert_close(distance(v, torch.zeros_like(v)), expected, atol=2e-4, rtol=0)


def test_paper_loss_by_hand():
    d = torch.tensor([[1.0, 2.0], [5.0, 3.0]])
    torch.testing.assert_close(normalized(d), torch.tensor([[0.0, 0.25], [1.0, 0.5]]))
    v = torch.stack([d, torch.zeros_like(d)], 1)
    assert consistency(v, torch.zeros_like(v), "paper").item() == pytest.approx(0.4375, abs=1e-4)
    assert diversity(v, torch.zeros_like(v), "paper").item() == pytest.approx(-0.4375, abs=1e-4)


def test_min_max_keeps_no_scale_and_an_outlier_lowers_it():
    v, h = torch.rand(8, 4, 3), torch.rand(8, 4, 3)
    whole = consistency(v, h, "paper").item()
    assert consistency(7 * v, 7 * h, "paper").item() == pytest.approx(whole, rel=1e-4)
    far = v.clone()
    far[0, :, 0] = 100
    assert 0 < consistency(far, h, "paper").item() < 0.1 < whole < 1


def test_cosine_loss_by_hand():
    v, h = torch.tensor([3.0, 0.0]).view(1, 2, 1), torch.tensor([0.0, 2.0]).view(1, 2, 1)
    assert consistency(v, h, "cosine").item() == pytest.approx(1) and diversity(v, h, "cosine").item() == 0
    assert consistency(v, 2 * v, "cosine").item() == pytest.approx(0, abs=1e-6)
    assert diversity(v, 2 * v, "cosine").item() == pytest.approx(1)
    assert consistency(v, -v, "cosine").item() == pytest.approx(2) and diversity(v, -v, "cosine").item() == 0


@pytest.mark.parametrize("kind", ["paper", "cosine"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_zero_difference_has_finite_gradients(kind, value):
    v = torch.full((3, 4, 2), value, requires_grad=True)
    h = torch.full((3, 4, 2), value, requires_grad=True)
    (consistency(v, h, kind) + diversity(v, h, kind)).backward()
    assert torch.isfinite(v.grad).all() and torch.isfinite(h.grad).all()


def test_blank_image_trains():
    model, batch = make(), batch_of()
    batch["image"] = torch.zeros_like(batch["image"])  # both patches are alike everywhere
    loss, _ = run(model, batch)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_loss_is_the_sum_of_its_weighted_terms():
    loss, logs = run(make())
    assert loss.item() == pytest.approx(sum(logs.values()), rel=1e-5)
    assert 0 < logs["consistency"] < 1 and -1 < logs["diversity"] < 0
    _, heavier = run(make(consistency_weight=3.0, diversity_weight=0.5))
    assert heavier["consistency"] == pytest.approx(3 * logs["consistency"], rel=1e-5)
    assert heavier["diversity"] == pytest.approx(0.5 * logs["diversity"], rel=1e-5)
    assert heavier["ce"] == logs["ce"]


@pytest.mark.parametrize(
    ("name", "kept"), [("ce_only", set()), ("consistency_only", {"consistency"}), ("diversity_only", {"diversity"})]
)
def test_ablations_of_the_loss(name, kept):
    loss, logs = run(make(**ABLATIONS[name]))
    assert {key for key in ("consistency", "diversity") if logs[key] != 0} == kept
    assert loss.item() == pytest.approx(logs["ce"] + sum(logs[key] for key in kept), rel=1e-5)


def test_the_other_loss_is_another():
    paper, other = run(make())[1], run(make(**ABLATIONS["cosine_loss"]))[1]
    assert paper["ce"] == other["ce"] and paper["consistency"] != other["consistency"] and other["diversity"] >= 0


@pytest.mark.parametrize("name", ["vertical", "horizontal", "square"])
def test_single_patches_have_cross_entropy_alone(name):
    loss, logs = run(make(**ABLATIONS[name]))
    assert logs == {"ce": pytest.approx(loss.item())}


@pytest.mark.parametrize("crop", ["vertical", "horizontal", "square"])
def test_single_patches_with_a_comparison_are_refused(crop):
    with pytest.raises(InvalidParameter, match="set consistency_weight=0 and diversity_weight=0"):
        Config(crop=crop)
    assert Config(crop=crop, **CE).crop == crop


def test_shares_above_one_are_refused():
    with pytest.raises(InvalidParameter, match="shares of a sum up to 1"):
        Config(alike=0.7, anywhere=0.4)


def test_loss_is_float32_under_bf16():
    features = torch.rand(6, 32, 14, 1).bfloat16()
    assert all(part.dtype == torch.float32 for part in rows_of(features, BARS[40]))
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = run(make())
    assert loss.dtype == torch.float32


# ---------------------------------------------------------------- training and prediction


@pytest.mark.parametrize(("drops", "rates"), [(False, [1, 1, 1, 1]), (True, [1, 0.5, 0.5, 0.1])])
def test_rates_fall_where_asked(drops, rates):
    model, seen = make(drops=drops), []
    (optimizer,) = model.optimizers().values()
    for epoch in (5, 6, 19, 20):
        model.epoch = epoch
        fit.set_rates({"net": optimizer}, FLOAT32, 0.0)
        fit.step(model, {"net": optimizer}, [batch_of()], epoch, FLOAT32, bf16=False)
        seen.append(optimizer.param_groups[0]["lr"] / model.config.lr)
    assert seen == pytest.approx(rates)


def test_points_of_a_step_are_balanced_and_new():
    model, batch, seen = make(patches=10), batch_of(), []
    model.net.patches = lambda image, points, cut=model.net.patches: seen.append(points) or cut(image, points)
    run(model, batch, seed=0), run(model, batch, seed=1)
    assert seen[0].shape == (4, 10, 2) and not torch.equal(*seen)
    inside = batch["label"][torch.arange(4)[:, None], 0, seen[0][..., 0], seen[0][..., 1]] > 0
    assert inside.sum(1).tolist() == [5] * 4


def test_mask_does_not_depend_on_the_tile():
    batch = batch_of(2)
    whole, cut = (make(tile=tile).eval().predict(batch) for tile in (128, 9))
    torch.testing.assert_close(whole["score"], cut["score"], atol=1e-5, rtol=1e-5)
    assert torch.equal(whole["mask"], cut["mask"])
    assert whole["score"].shape == whole["mask"].shape == batch["label"].shape


def test_mask_is_the_cleaned_score():
    model = make(closing=0, fill=False, largest=False).eval()
    with torch.no_grad():
        logits = model.net.dense(batch_of(2)["image"], range(32), range(32))
        model.net.head.bias[0] += (logits[:, 1] - logits[:, 0]).median()  # half of the pixels are the object's
    found = model.predict(batch_of(2))
    assert torch.equal(found["mask"], (found["score"] > 0.5).float())
    assert 0 < found["mask"].mean() < 1


def test_training_finds_what_two_patches_tell():
    """One bright bar down and one across: where they cross is the object, and a few steps find it."""
    image = torch.zeros(1, 1, 64, 64)
    image[..., 26:38] += 0.4
    image[..., 26:38, :] += 0.4
    label = (image > 0.7).to(torch.int16)
    model = make(closing=0, lr=3e-3)
    batch = {"image": image, "label": label, "spacing": torch.ones(1, 2)}
    optimizers = model.optimizers()
    for seed in range(60):
        fit.step(model, optimizers, [batch], seed, FLOAT32, bf16=False)
    with torch.inference_mode():
        assert model.eval().score(batch, model.predict(batch))["dice"].item() > 0.9


def test_overlap_distance_is_a_ratio_of_distances():
    model, batch = make().eval(), batch_of(2)
    seen = []
    model.net.register_forward_hook(lambda module, given, out: seen.append(out[1]))
    found = model.overlap_distance(batch)
    v, h = seen[0].squeeze(-1)
    assert v.shape == (200, 32, 14), "100 points an item"
    over = (v - h)[..., 6:8].square().sum(1).sqrt().view(2, -1).mean(1)
    ends = ((v - h)[..., :2].square().sum(1) + (v - h)[..., 12:].square().sum(1)).sqrt().view(2, -1).mean(1)
    torch.testing.assert_close(found, over / ends, atol=1e-3, rtol=1e-3)


def test_scores_of_the_cross_and_of_single_patches():
    batch = batch_of(2)
    for change, there in (({}, True), (ABLATIONS["vertical"], False)):
        model = make(**change).eval()
        scores = model.score(batch, model.predict(batch))
        assert ("overlap_distance" in scores) is there
        assert {"dice", "tpf", "centroid", "hd95", "hausdorff"} <= set(scores)
        assert (scores["hausdorff"] >= scores["hd95"]).all()


def test_claims_name_arms_that_exist():
    arms = {"crossover", *ABLATIONS, *crossover.RIVALS}
    assert {claim.other for claim in crossover.CLAIMS} <= arms
    assert {claim.arm for claim in crossover.CLAIMS} <= {None, "ce_only"}
    assert set(TURNED) == {"cross", "vertical", "horizontal", "square"}
    for change in ABLATIONS.values():
        assert dataclasses.asdict(Config(**change)) != dataclasses.asdict(Config())


# ---------------------------------------------------------------- Crossbar-Net


def crossed(**changes):
    return small_method("crossbar", **changes)


def test_layers_of_a_crossbar_network():
    maps, seen = torch.rand(1, 1, 100, 20), []
    net = crossed(patch=100).sides["vertical"].net
    for module in (*net.stem, *net.tail):
        maps = module(maps)
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            seen.append((*maps.shape[1:],))
    assert seen == [
        (16, 96, 18), (36, 92, 16), (36, 46, 8), (64, 42, 6), (64, 21, 3), (64, 17, 1), (64, 12, 1), (64, 7, 1),
        (500, 1, 1),
    ]  # fmt: skip
    assert net.head.in_features == 500


def test_sides_share_nothing():
    vertical, across = crossed().sides.values()
    assert not {id(p) for p in vertical.parameters()} & {id(p) for p in across.parameters()}
    assert (vertical.net.turned, across.net.turned) == ((False,), (True,))


@pytest.mark.parametrize("patch", PLANS)
def test_crossbar_is_dense_with_one_mean(patch):
    model = crossed(patch=patch, mean="pixel", tile=5).eval()
    side, image = model.sides["horizontal"], torch.rand(1, 1, 8, 3)
    side.total.fill_(0.4), side.count.fill_(2.0)
    with torch.inference_mode():
        single = side.net.patchwise(image, range(8), side.mean("pixel"))
        torch.testing.assert_close(model.logits(side, image), single, atol=1e-5, rtol=1e-5)


def test_covering_of_a_horizontal_patch_by_hand():
    centers = covering(torch.tensor([[[60, 70]]]), (100, 20), turned=True)
    assert centers.shape == (1, 1, 13 * 3, 2)
    expected = [c for x in range(20, 120, 8) for c in ([60, x], [70, x + 3], [50, x + 6])]
    assert centers[0, 0].tolist() == expected


def test_covering_of_a_vertical_patch_is_its_mirror_image():
    points = torch.tensor([[[60, 70], [5, 9]]])
    across = covering(points.flip(-1), (40, 8), turned=True)
    assert torch.equal(covering(points, (40, 8), turned=False), across.flip(-1))


def test_only_mistakes_inside_of_the_image_are_covered():
    centers = torch.tensor([[[[0, 0], [2, 3]], [[2, 3], [9, 1]], [[-1, 2], [2, 3]]]])
    found = covered(centers, torch.tensor([[True, False, True]]), (4, 5))
    expected = torch.zeros(1, 1, 4, 5)
    expected[..., 0, 0], expected[..., 2, 3] = 1, 2
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("epoch", "number"), [(1, 1), (13, 1), (14, 2), (34, 2), (35, 3), (99, 3)])
def test_rounds_by_epoch(epoch, number):
    model = crossed(second=14, third=35)
    model.epoch = epoch
    assert model.round == number


def judges(model):
    return torch.cat([b.flatten() for key, b in model.named_buffers() if "judge" in key])


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_judges_stay_as_the_round_began():
    model, batch = crossed(second=2, third=3), batch_of()
    optimizers, seen = model.optimizers(), {}
    for epoch in (1, 2, 2, 3):
        model.epoch = epoch
        before = weights(model)
        fit.step(model, optimizers, [batch], epoch, FLOAT32, bf16=False)
        seen.setdefault(epoch, []).append((before, judges(model)))
    assert torch.equal(seen[2][0][0], seen[2][0][1]), "the networks as they entered the round"
    assert torch.equal(seen[2][0][1], seen[2][1][1]) and not torch.equal(seen[2][1][0], seen[2][1][1])
    assert torch.equal(*seen[3][0])


def test_judges_say_what_the_networks_said():
    side = crossed().sides["vertical"]
    patches = torch.rand(1, 5, 1, 40, 8)
    assert torch.equal(side.judged(patches), side.net(patches)[0])
    with torch.no_grad():
        side.net.head.bias += 1
    assert not torch.equal(side.judged(patches), side.net(patches)[0])


def test_resampled_points_cover_the_mistakes_of_the_other():
    model, batch = crossed(second=1, third=1), batch_of(1)
    batch["image"], batch["label"] = torch.rand(1, 1, 96, 96), torch.zeros(1, 1, 96, 96, dtype=torch.int16)
    batch["label"][..., 40:60, 30:80] = 1
    bias = model.sides["horizontal"].get_buffer("judge_head_bias")
    bias.copy_(torch.tensor([0.0, 1e4]))  # this judge takes everything for the object
    model.stream = Stream(0)
    points, target = model.resample("horizontal", batch["image"], batch["label"], 40)
    model.stream = Stream(0)
    basic, truth = model.sampling.points(batch["image"], batch["label"], model.rand(1, model.config.patches))
    wrong = (truth == 0).view(1, -1)
    allowed = covered(covering(basic, (40, 8), True), wrong, (96, 96))[0, 0] > 0
    assert target.sum() == 20
    assert allowed[points[0, :, 0], points[0, :, 1]].all()
    assert torch.equal(batch["label"][0, 0, points[0, :, 0], points[0, :, 1]].long(), target)


def test_first_round_is_basic_and_later_ones_are_mixed():
    model, batch = crossed(second=2, third=3, patches=20), batch_of()
    asked = []
    model.resample = lambda judge, image, label, count, real=model.resample: (
        asked.append((judge, count)) or real(judge, image, label, count)
    )
    for epoch in (1, 2):
        model.epoch = epoch
        list(model.updates(batch))
    assert asked == [("horizontal", 10), ("vertical", 10)], "each network learns from the other's mistakes"


def test_mean_patch_is_that_of_the_first_round():
    model, batch, seen = crossed(second=2, third=3), batch_of(), {"vertical": [], "horizontal": []}
    for name, side in model.sides.items():
        side.observe = lambda patches, name=name, real=side.observe: seen[name].append(patches) or real(patches)
    for epoch in (1, 1, 2):
        model.epoch = epoch
        list(model.updates(batch))
    for name, side in model.sides.items():
        assert len(seen[name]) == 2
        torch.testing.assert_close(side.mean("patch"), torch.cat(seen[name], 1)[0].mean(0))
        torch.testing.assert_close(side.mean("pixel"), side.mean("patch").mean().expand(1, 40, 8))


def test_object_is_where_both_networks_say_so():
    model = crossed(closing=0, fill=False, largest=False).eval()
    batch = batch_of(2)
    with torch.inference_mode():
        both = [model.logits(side, batch["image"]).argmax(1, keepdim=True) for side in model.sides.values()]
        assert torch.equal(model.predict(batch)["mask"], (both[0] * both[1]).float())


def test_cascade_resumes_in_a_later_round(tmp_path):
    train = small_data("organs").train
    whole = fit.fit(crossed(second=2, third=2), train, FLOAT32, seed=1)
    with pytest.raises(fit.Stopped):
        watch = lambda told: told.total == 3  # noqa: E731
        fit.fit(crossed(second=2, third=2), train, FLOAT32, seed=1, folder=tmp_path, watch=watch)
    resumed = fit.fit(crossed(second=2, third=2), train, FLOAT32, seed=1, folder=tmp_path)
    assert torch.equal(weights(whole), weights(resumed)) and torch.equal(judges(whole), judges(resumed))


def test_rounds_out_of_order_are_refused():
    with pytest.raises(InvalidParameter, match="an epoch from second=20 on"):
        crossbar.Config(second=20, third=10)


# ---------------------------------------------------------------- U-Net


def test_dice_loss_by_hand():
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    half = torch.full_like(target, 0.5)
    assert unet.dice_loss(half, target).item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))
    assert unet.dice_loss(target, target).item() == 0
    assert unet.dice_loss(torch.zeros_like(target), torch.zeros_like(target)).item() == 0


def test_unet_repeats_its_updates():
    assert len(list(small_method("unet", repeats=3).updates(batch_of()))) == 3


def test_unet_refuses_sides_that_do_not_halve():
    with pytest.raises(InvalidImage, match="sides of a multiple of 8, found 32 x 36"):
        small_method("unet", levels=4).predict({"image": torch.rand(1, 1, 32, 36)})
