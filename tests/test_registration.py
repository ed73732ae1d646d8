"""Warping, composition, integration, Jacobians, the losses of registration, and the rivals and floors made of them."""

import math

import numpy as np
import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from monai.losses import LocalNormalizedCrossCorrelationLoss
from scipy import linalg, ndimage
from torch.nn import functional as F

from workbench import fit
from workbench.baselines import affine, dataaug, multiatlas, voxelmorph
from workbench.errors import InvalidImage, InvalidParameter
from workbench.losses.registration import (
    band,
    box,
    dice_loss,
    label_map,
    local_ncc,
    one_hot,
    require_labels,
    rho,
    segmentation_loss,
    smoothness,
)
from workbench.method import Stream
from workbench.models.registration import FlowNet, scores
from workbench.models.warp import (
    base_grid,
    compose,
    cycle_error,
    endpoint_error,
    folds,
    integrate,
    jacobian,
    warp,
)

SIDES = {2: (12, 17), 3: (9, 12, 10)}
both = pytest.mark.parametrize("dims", [2, 3])


def image_of(dims, count=2, channels=1, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, *SIDES[dims], generator=generator, dtype=dtype)


def field_of(dims, count=2, size=1.5, dtype=torch.float32, seed=1):
    """A smooth random field of about `size` voxels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, dims, *[4] * dims, generator=generator, dtype=dtype)
    return size * F.interpolate(coarse, SIDES[dims], mode={2: "bilinear", 3: "trilinear"}[dims], align_corners=True)


def constant(dims, *shift, count=2):
    return torch.tensor(shift, dtype=torch.float32).view(1, dims, *[1] * dims).expand(count, dims, *SIDES[dims])


def places(dims, dtype=torch.float64):
    """(1, D, *S) the position of each voxel."""
    axes = [torch.arange(side, dtype=dtype) for side in SIDES[dims]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def linear(dims, matrix):
    """The field (1, D, *S) of x -> A (x - middle)."""
    middle = torch.tensor([(side - 1) / 2 for side in SIDES[dims]], dtype=torch.float64)
    centred = places(dims) - middle.view(1, dims, *[1] * dims)
    return torch.einsum("de,be...->bd...", torch.as_tensor(matrix, dtype=torch.float64), centred)


# ---------------------------------------------------------------- warping


@both
def test_zero_field_is_identity(dims):
    image = image_of(dims, channels=3)
    torch.testing.assert_close(warp(image, torch.zeros(2, dims, *SIDES[dims])), image, atol=2e-6, rtol=0)


@both
def test_whole_shifts_move_voxels(dims):
    image = image_of(dims)
    for axis in range(dims):
        for steps in (1, -2):
            shift = [0.0] * dims
            shift[axis] = steps
            moved = warp(image, constant(dims, *shift))
            side = SIDES[dims][axis]
            kept = range(max(0, -steps), min(side, side - steps))
            found = moved.index_select(2 + axis, torch.tensor(kept))
            expected = image.index_select(2 + axis, torch.tensor([k + steps for k in kept]))
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
            beyond = moved.select(2 + axis, side - 1 if steps > 0 else 0)
            border = image.select(2 + axis, side - 1 if steps > 0 else 0)
            torch.testing.assert_close(beyond, border, atol=1e-5, rtol=0)  # the border goes on


@both
def test_warp_is_linear_interpolation_as_scipy_does_it(dims):
    image, flow = image_of(dims, dtype=torch.float64), field_of(dims, size=2.0, dtype=torch.float64)
    at = (places(dims) + flow).numpy()
    for item in range(2):
        expected = ndimage.map_coordinates(image[item, 0].numpy(), at[item], order=1, mode="nearest")
        np.testing.assert_allclose(warp(image, flow)[item, 0].numpy(), expected, atol=1e-12)


@both
@pytest.mark.filterwarnings("ignore:monai.networks.blocks.Warp")
def test_warp_is_that_of_monai(dims):
    from monai.networks.blocks import Warp

    image, flow = image_of(dims, channels=2), field_of(dims)
    expected = Warp("bilinear", "border")(image, flow)
    torch.testing.assert_close(warp(image, flow), expected, atol=1e-5, rtol=1e-4)


@both
def test_warp_has_right_gradients(dims):
    image = torch.rand(1, 2, *[4] * dims, dtype=torch.float64, requires_grad=True)
    flow = (0.3 + 0.4 * torch.rand(1, dims, *[4] * dims, dtype=torch.float64)).requires_grad_()  # away from the kinks
    assert torch.autograd.gradcheck(warp, (image, flow))


@both
def test_warp_of_a_sum_is_the_sum(dims):
    soft = one_hot((4 * image_of(dims)).to(torch.int16), 3)
    total = warp(torch.cat([soft, 1 - soft.sum(1, keepdim=True)], 1), field_of(dims)).sum(1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_warp_is_float32_under_bf16_and_works_after_evaluation():
    base_grid.cache_clear()
    image, flow = image_of(2), field_of(2)
    with torch.inference_mode():
        expected = warp(image, flow)
    flow = flow.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = warp(image.bfloat16(), flow)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    found.sum().backward()
    assert flow.grad.abs().sum() > 0


@both
def test_warp_reads_a_grid_of_other_size(dims):
    flow = torch.zeros(1, dims, *[5] * dims)
    assert warp(image_of(dims, 1), flow).shape == (1, 1, *[5] * dims)


# ---------------------------------------------------------------- composition, integration, Jacobian


@both
def test_composition_of_two_shifts_is_their_sum(dims):
    first, then = [1.0, -2.0, 3.0][:dims], [0.5, 1.0, -1.0][:dims]
    found = compose(constant(dims, *first), constant(dims, *then))
    expected = constant(dims, *[a + b for a, b in zip(first, then, strict=True)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@both
def test_composition_is_in_the_order_of_the_convention(dims):
    """m o first o then: doubling, then a shift by one, is x -> 2 (x + 1), not 2 x + 1."""
    first = places(dims).float()
    then = constant(dims, *[1.0] * dims, count=1)
    found = compose(first, then)
    inner = (slice(None), slice(None), *[slice(0, -1)] * dims)
    torch.testing.assert_close(found[inner], (places(dims).float() + 2)[inner], atol=1e-4, rtol=0)


@both
def test_warping_twice_is_warping_by_the_composition(dims):
    """Of an image that is linear in place, so that no interpolation is lost; away from the border."""
    image = places(dims).sum(1, keepdim=True)
    first, then = (field_of(dims, 1, 0.4, torch.float64, seed) for seed in (1, 2))
    inner = (slice(None), slice(None), *[slice(2, -2)] * dims)
    once = warp(image, compose(first, then))
    twice = warp(warp(image, first), then)
    torch.testing.assert_close(once[inner], twice[inner], atol=1e-10, rtol=0)


@both
def test_cycle_of_opposite_shifts_is_closed(dims):
    shift = [2.0, -1.0, 0.5][:dims]
    forth, back = constant(dims, *shift), constant(dims, *[-s for s in shift])
    torch.testing.assert_close(cycle_error(forth, back), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(cycle_error(forth, forth), torch.full((2,), 2 * math.hypot(*shift)), atol=1e-5, rtol=0)


@both
def test_scaling_and_squaring_is_the_exponential(dims):
    matrix = 0.1 * np.random.default_rng(0).standard_normal((dims, dims))
    found = integrate(linear(dims, matrix), steps=10)
    expected = linear(dims, linalg.expm(matrix) - np.eye(dims))
    inner = (slice(None), slice(None), *[slice(2, -2)] * dims)
    torch.testing.assert_close(found[inner], expected[inner], atol=2e-3, rtol=0)
    coarse = integrate(linear(dims, matrix), steps=2)
    assert (coarse - expected)[inner].abs().max() > 10 * (found - expected)[inner].abs().max()


@both
def test_integrated_velocities_of_either_sign_undo_one_another(dims):
    velocity = field_of(dims, size=0.7)
    ways = integrate(velocity, 7), integrate(-velocity, 7)
    assert cycle_error(*ways).max() < 0.15 * ways[0].norm(dim=1).mean()


@both
def test_jacobian_of_a_linear_map_is_its_determinant(dims):
    matrix = 0.3 * np.random.default_rng(1).standard_normal((dims, dims))
    found = jacobian(linear(dims, matrix))
    assert found.shape == (1, *SIDES[dims])
    torch.testing.assert_close(found, torch.full_like(found, np.linalg.det(np.eye(dims) + matrix)))


@both
def test_folds_are_counted(dims):
    still = torch.zeros(1, dims, *SIDES[dims])
    mirrored = still.clone()
    mirrored[:, 0] = -2 * places(dims)[:, 0]
    torch.testing.assert_close(folds(torch.cat([still, mirrored])), torch.tensor([0.0, 1.0]))
    flat = still.clone()
    flat[:, 0] = -places(dims)[:, 0]  # a determinant of 0 is a fold
    assert folds(flat).item() == 1


@both
def test_endpoint_error_by_hand(dims):
    true = constant(dims, *[1.0] * dims)
    inside = torch.zeros(2, 1, *SIDES[dims])
    inside[0, 0, 3] = 1
    flow = torch.where(inside > 0, true + 2, true - 50)
    expected = torch.tensor([2 * math.sqrt(dims), 0.0])
    torch.testing.assert_close(endpoint_error(flow, true, inside), expected)


# ---------------------------------------------------------------- losses


@both
def test_correlation_of_an_image_with_itself_is_one(dims):
    image = image_of(dims)
    assert local_ncc(image, image).item() == pytest.approx(-1, abs=1e-4)
    assert local_ncc(-0.3 * image, image).item() == pytest.approx(-1, abs=1e-3)  # squared: contrast may be turned
    assert local_ncc(image_of(dims, seed=5), image).item() > -0.5


@both
@pytest.mark.parametrize("window", [3, 9])
def test_correlation_is_that_of_monai(dims, window):
    moving, fixed = image_of(dims, seed=1).requires_grad_(), image_of(dims, seed=2)
    reference = LocalNormalizedCrossCorrelationLoss(dims, window, smooth_dr=1e-5 * window**dims)
    found, expected = local_ncc(moving, fixed, window), reference(moving, fixed)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    gradients = [torch.autograd.grad(loss, moving)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-3)


@both
def test_correlation_of_flat_images_is_none(dims):
    flat = torch.full((1, 1, *SIDES[dims]), 0.7)
    noisy = image_of(dims, 1)
    inner = (slice(None), slice(None), *[slice(4, -4)] * dims)
    assert local_ncc(torch.zeros_like(flat), noisy).item() == 0
    assert abs(local_ncc(flat[inner], noisy[inner], 3).item()) < 1
    loss = local_ncc(flat.requires_grad_(), flat.detach())
    loss.backward()
    assert torch.isfinite(flat.grad).all()


@both
def test_box_is_a_mean_filter(dims):
    image = image_of(dims, dtype=torch.float64)
    expected = ndimage.uniform_filter(image.numpy(), size=(1, 1, *[5] * dims), mode="constant")
    np.testing.assert_allclose(box(image, 5).numpy(), expected, atol=1e-12)
    assert band(7, 3, torch.float32, torch.device("cpu")).sum(0).tolist() == pytest.approx([2 / 3, *[1] * 5, 2 / 3])


@both
def test_losses_have_right_gradients(dims):
    sides = (1, 1, *[4] * dims)
    moving, fixed = (torch.rand(sides, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: local_ncc(a, b, 3), (moving, fixed))
    flow = torch.randn(1, dims, *[4] * dims, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(smoothness, flow)
    assert torch.autograd.gradcheck(rho, flow)
    assert torch.autograd.gradcheck(dice_loss, (moving, fixed.detach()))


@both
def test_smoothness_by_hand(dims):
    assert smoothness(constant(dims, *[3.0] * dims)).item() == 0
    slope = torch.zeros(1, dims, *SIDES[dims])
    slope[:, 0] = 2 * places(dims)[:, 1]
    assert smoothness(slope).item() == pytest.approx(4 / dims / dims)  # one of D components along one of D axes


def test_rho_is_its_closed_form():
    z = torch.tensor([0.0, 0.5, -2.0], dtype=torch.float64)
    torch.testing.assert_close(rho(z), torch.tensor([1e-6**0.45, 0.250001**0.45, 4.000001**0.45], dtype=torch.float64))


def test_dice_loss_by_hand():
    soft = torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(1, 2, 2, 2)
    target = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(1, 2, 2, 2)
    assert dice_loss(soft, target).item() == pytest.approx((1 - 3 / 3.5) / 2, abs=1e-4)  # both empty: no loss
    assert dice_loss(target, target).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(1 - target, target).item() > 0.9


def test_labels_there_and_back():
    label = torch.randint(0, 4, (2, 1, 5, 6), dtype=torch.int16)
    soft = one_hot(label, 3)
    assert torch.equal(label_map(soft), label)
    assert soft.sum(1, keepdim=True).equal((label > 0).float())
    assert one_hot(-torch.ones_like(label), 3).sum() == 0
    undecided = torch.tensor([0.3, 0.3]).view(1, 2, 1, 1)
    assert label_map(undecided).item() == 0  # the background has 0.4


def test_segmentation_loss_by_hand():
    label = torch.tensor([[0, 1]], dtype=torch.int16).view(1, 1, 1, 2)
    logits = torch.zeros(1, 2, 1, 2)
    assert segmentation_loss(logits, label).item() == pytest.approx(math.log(2) + 0.5, abs=1e-4)


def test_subjects_without_labels_are_refused():
    label = torch.zeros(3, 1, 4, 4, dtype=torch.int16)
    require_labels("supervised", label)
    label[1] = -1
    with pytest.raises(InvalidImage, match="found 1 of 3 without"):
        require_labels("supervised", label)


# ---------------------------------------------------------------- the network and the scores


@both
@pytest.mark.parametrize("finish", [1, 2, 3])
def test_network_gives_a_field_of_the_images_sides(dims, finish):
    torch.manual_seed(0)
    net = FlowNet(dims, base=4, depth=3, finish=finish)
    sides = (16, 24, 32)[:dims]
    flow = net(torch.rand(2, 1, *sides), torch.rand(2, 1, *sides))
    assert flow.shape == (2, dims, *sides)
    assert 0 < flow.abs().max() < 1e-3
    assert net.decoder.head.weight.std().item() == pytest.approx(1e-5, rel=0.3)
    assert net.decoder.head.bias.abs().max() == 0


def test_network_at_paper_scale_has_the_widths_of_its_source():
    net = FlowNet(3, base=16, depth=4, finish=3)
    convs = [m for m in net.modules() if isinstance(m, torch.nn.Conv3d)]
    assert [c.out_channels for c in convs] == [16, 32, 32, 32, 32, 32, 32, 32, 32, 16, 16, 3]
    assert [c.in_channels for c in convs] == [2, 16, 32, 32, 32, 64, 64, 64, 48, 32, 16, 16]


def test_network_gives_the_field_in_float32():
    net = FlowNet(2, base=4, depth=2)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)).dtype == torch.float32


def test_integrating_network_gives_a_diffeomorphism():
    torch.manual_seed(0)
    nets = [FlowNet(2, base=4, depth=2, int_steps=steps) for steps in (0, 7)]
    nets[1].load_state_dict(nets[0].state_dict())
    for net in nets:
        torch.nn.init.normal_(net.decoder.head.weight, std=2.0)
        net.load_state_dict(nets[0].state_dict())
    pair = torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)
    velocity, flow = (net(*pair) for net in nets)
    torch.testing.assert_close(flow, integrate(velocity, 7))
    assert folds(velocity).item() > folds(flow).item()


@pytest.mark.parametrize("key", ["flow", None])
def test_scores_hold_what_the_data_knows(key):
    batch = small_data("anatomy3d").test.__getitems__([0, 1])
    batch = {k: v for k, v in batch.items() if key or k != "flow"}
    still = torch.zeros(2, 2, 32, 32)
    labels = small_data("anatomy3d").labels
    found = scores(batch, {"mask": batch["label"], "flow": still}, labels, still)
    assert found["dice"].tolist() == [1, 1] and found["cycle"].tolist() == [0, 0] and found["folds"].tolist() == [0, 0]
    assert ("epe" in found) is (key == "flow")
    if key:
        length = batch["flow"].norm(dim=1, keepdim=True)[batch["label"] > 0]
        assert found["epe"].mean().item() == pytest.approx(length.mean().item(), rel=0.1)
    assert not {"folds", "cycle", "epe"} & set(scores(batch, {"mask": batch["label"]}, labels))


# ---------------------------------------------------------------- rivals and floors


def batch_of(count=4):
    return small_data("anatomy3d").train.__getitems__(range(count))


def losses(model, batch):
    model.stream = Stream(0)
    return [(name, loss.item(), {k: float(v) for k, v in logs.items()}) for name, loss, logs in model.updates(batch)]


def test_true_field_of_the_phantom_has_the_convention_of_the_warp():
    """Labels warped by the field that the data gives lie on the subject; by its opposite they do not."""
    batch = small_data("anatomy3d").test.__getitems__([0, 1, 2])
    count = len(small_data("anatomy3d").labels)
    found = []
    for sign in (1, -1):
        mask = label_map(warp(one_hot(batch["atlas_label"], count), sign * batch["flow"]))
        found.append(scores(batch, {"mask": mask}, small_data("anatomy3d").labels)["dice"].mean().item())
    assert found[0] > 0.9 > 0.75 > found[1]


def test_identity_lays_the_atlas_over_the_scan():
    batch = batch_of()
    prediction = small_method("identity").predict(batch)
    assert torch.equal(prediction["mask"], batch["atlas_label"])
    found = small_method("identity").score(batch, prediction)
    assert found["cycle"].max() == 0 and found["folds"].max() == 0


def smooth_pair(dims, matrix, shift):
    """A smooth image and its warp by an affine map, with other gain and offset."""
    sides = {2: (32, 40), 3: (24, 32, 24)}[dims]
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, side) for side in sides], indexing="ij"))
    blobs = [(0.3, -0.2, 0.1), (-0.3, 0.1, 0.3), (0.1, 0.4, -0.4)]  # one alone could turn unseen
    centres = [torch.tensor(blob[:dims]).view(-1, *[1] * dims) for blob in blobs]
    image = sum(torch.exp(-8 * (grid - centre).square().sum(0)) for centre in centres)[None, None]
    parts = affine.basis(sides, image)
    theta = torch.cat([torch.tensor(shift)[:, None], torch.tensor(matrix)], 1)[None]
    flow = affine.affine_flow(theta, parts)
    return image, 0.5 * warp(image, flow) + 0.1, flow


@both
def test_affine_finds_an_affine_map(dims):
    generator = np.random.default_rng(0)
    matrix = (1.5 * generator.standard_normal((dims, dims))).astype(np.float32)
    atlas, image, flow = smooth_pair(dims, matrix, [2.0, -1.5, 1.0][:dims])
    batch = {"atlas": atlas, "image": image, "atlas_label": (atlas > 0.5).to(torch.int16)}
    found = small_method("affine", dims=dims, classes="one").predict(batch)["flow"]
    assert (found - flow).norm(dim=1).mean() < 0.05 < 1 < flow.norm(dim=1).mean()


def test_affine_leaves_equal_images_alone():
    batch = batch_of()
    found = small_method("affine").predict(batch | {"image": batch["atlas"]})
    assert found["flow"].abs().max() < 1e-3
    assert torch.equal(found["mask"], batch["atlas_label"])


def test_voxelmorph_loss_by_hand():
    model, batch = small_method("voxelmorph", smooth_weight=0.5), batch_of()
    ((side, loss, logs),) = losses(model, batch)
    flow = model.forth(batch["atlas"], batch["image"])
    assert side == "generator"
    assert logs["sim"] == pytest.approx(local_ncc(warp(batch["atlas"], flow), batch["image"]).item())
    assert logs["smooth"] == pytest.approx(0.5 * smoothness(flow).item())
    assert loss == pytest.approx(sum(logs.values()))


@pytest.mark.parametrize("name", voxelmorph.ABLATIONS)
def test_variants_of_voxelmorph_do_what_they_say(name):
    change = voxelmorph.ABLATIONS[name]
    assert all(getattr(voxelmorph.Config(), key) != value for key, value in change.items())
    model, batch = small_method("voxelmorph", **change), batch_of()
    found = losses(model, batch)
    assert len(found) == change.get("repeats", 1)
    assert hasattr(model, "back") is ("pair" in change)
    assert ("cycle" in model.score(batch, model.predict(batch))) is ("pair" in change)


def test_pair_is_two_networks_that_know_nothing_of_one_another():
    whole, half = small_method("voxelmorph", pair=True), small_method("voxelmorph")
    half.load_state_dict({k: v for k, v in whole.state_dict().items() if k.startswith("forth")})
    for model in (whole, half):
        fit.step(model, model.optimizers(), [batch_of()], 0, FLOAT32, bf16=False)
    trained = whole.state_dict()
    assert all(torch.equal(value, trained[key]) for key, value in half.state_dict().items())


def test_training_without_labels_is_what_registration_asks_for():
    batch = batch_of()
    poisoned = batch | {"label": torch.full_like(batch["label"], -1)}
    for name in ("voxelmorph", "dataaug"):
        assert losses(small_method(name), batch) == losses(small_method(name), poisoned)
    for name in ("supervised", "multiatlas"):
        with pytest.raises(InvalidImage, match=name):
            losses(small_method(name), poisoned)


@pytest.mark.parametrize("name", ["supervised", "dataaug"])
def test_segmenters_learn(name):
    model, batch = small_method(name, lr=1e-2), batch_of(8)
    optimizers = model.optimizers()
    first = losses(model, batch)[-1][1]
    for step in range(30):
        fit.step(model, optimizers, [batch], step, FLOAT32, bf16=False)
    assert losses(model, batch)[-1][1] < 0.7 * first


# ---------------------------------------------------------------- DataAug


def test_dataaug_trains_its_parts_apart():
    model, batch = small_method("dataaug"), batch_of()
    parts = {"spatial": ("forth", "back"), "appearance": ("appearance",), "segmenter": ("segmenter",)}
    model.stream = Stream(0)
    for name, loss, _ in model.updates(batch):
        model.zero_grad()
        loss.backward()
        reached = {key.split(".")[0] for key, p in model.named_parameters() if p.grad is not None}
        assert reached == set(parts[name])


@pytest.mark.parametrize(("epoch", "stage"), [(1, "spatial"), (2, "spatial"), (3, "appearance"), (4, "segmenter")])
def test_dataaug_in_stages(epoch, stage):
    model = small_method("dataaug", spatial_epochs=2, appearance_epochs=1)
    model.epoch = epoch
    assert [name for name, *_ in losses(model, batch_of())] == [stage]


def test_synthesised_image_has_one_shape_and_another_appearance():
    model, batch = small_method("dataaug"), batch_of()
    torch.nn.init.normal_(model.forth.decoder.head.weight, std=0.5)
    forth, change = model.changed(batch)
    image, label = model.synthesised(batch, forth, change)
    for item in range(4):
        altered = (batch["atlas"][item] + change[item - 1]).clamp(0, 1)
        torch.testing.assert_close(image[item], warp(altered[None], forth[item : item + 1])[0])
        expected = warp(one_hot(batch["atlas_label"][item : item + 1], 5), forth[item : item + 1])
        assert torch.equal(label[item : item + 1], label_map(expected))


def test_contours_are_where_structures_meet():
    label = torch.tensor([[0, 0, 1], [0, 0, 1], [2, 2, 2]], dtype=torch.int16)[None, None]
    assert dataaug.contours(label)[0, 0].tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert dataaug.contours(torch.ones_like(label)).sum() == 0


def test_appearance_may_jump_at_contours_alone():
    change = torch.zeros(1, 1, 1, 4)
    change[..., 2:] = 1
    assert dataaug.change_smoothness(change.expand(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)).item() == pytest.approx(1 / 6)
    edges = torch.tensor([0.0, 1, 1, 0]).expand(1, 1, 2, 4)
    assert dataaug.change_smoothness(change.expand(1, 1, 2, 4), edges).item() == 0


# ---------------------------------------------------------------- multi-atlas vote


def trained_multiatlas(**changes):
    model = small_method("multiatlas", **changes)
    return fit.fit(model, small_data("anatomy3d").train, FLOAT32)


def test_bank_holds_every_subject_once():
    model, train = trained_multiatlas(), small_data("anatomy3d").train
    assert model.images.shape == (8, 1, 32, 32) and model.maps.shape == (8, 1, 32, 32)
    every = train.__getitems__(range(8))
    order = [int((every["image"] - one).abs().flatten(1).sum(1).argmin()) for one in model.images]
    assert sorted(order) == list(range(8))
    assert torch.equal(model.maps, every["label"][order])
    assert len(trained_multiatlas(bank=3).images) == 3


def test_bank_comes_back_with_the_weights():
    model, batch = trained_multiatlas(), batch_of()
    other = small_method("multiatlas")
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.predict(batch)["mask"], other.predict(batch)["mask"])


def test_the_nearest_subjects_vote_with_the_atlas():
    model = small_method("multiatlas", voters=3)
    batch = batch_of(4)
    model.keep(batch)
    seen = []
    model.vote = lambda moving, label, image: seen.append(moving) or torch.zeros(len(image), 5, 32, 32)
    model.predict({key: value[:1] for key, value in batch.items()})
    assert torch.equal(seen[0], batch["atlas"][:1])
    assert torch.equal(seen[1], batch["image"][:1]), "the subject itself is nearest"
    apart = (batch["image"][1:] - batch["image"][:1]).square().flatten(1).sum(1)
    assert torch.equal(seen[2][0], batch["image"][1 + int(apart.argmin())])


def test_the_vote_is_for_the_structure_of_most():
    model, batch = small_method("multiatlas", voters=3), batch_of(2)
    model.keep(batch | {"label": torch.full_like(batch["label"], 2)})
    assert (model.predict(batch)["mask"] == 2).all(), "two of three voters say so"


def test_untrained_multiatlas_is_the_atlas_alone():
    batch = batch_of()
    assert torch.equal(small_method("multiatlas").predict(batch)["mask"], batch["atlas_label"])
    assert multiatlas.Config().voters % 2 == 1


def test_a_window_needs_a_middle():
    with pytest.raises(InvalidParameter, match="window"):
        voxelmorph.Config(window=8)
