"""Metrics against hand-made numbers, scikit-image and plain loops."""

import math

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

from workbench import metrics

SIZE = (16, 21)


def pictures(count=3, seed=0):
    """Images, targets (B, 3, H, W) and a mask (B, 1, H, W) of about half the pixels."""
    rng = np.random.default_rng(seed)
    target = rng.random((count, 3, *SIZE)).astype(np.float32)
    image = np.clip(target + 0.2 * rng.standard_normal(target.shape), 0, 1).astype(np.float32)
    mask = (rng.random((count, 1, *SIZE)) < 0.5).astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy(target), torch.from_numpy(mask)


def case(seed=0):
    image, target, mask = pictures(seed=seed)
    batch = {"target": target, "foreground": mask}
    return batch, {"color": image, "mask": (torch.rand(mask.shape, generator=torch.manual_seed(1)) < 0.5).float()}


def skimage_map(image, target):
    """Structure per window and channel, (H, W, C), and its mean over whole windows."""
    planes = [x.permute(1, 2, 0).double().numpy() for x in (image, target)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    mean, full = structural_similarity(*planes, channel_axis=2, full=True, **options)
    return full, mean


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(("error", "expected"), [(0.1, 20.0), (0.01, 40.0), (0.5, 10 * math.log10(4)), (1.0, 0.0)])
def test_psnr_of_a_constant_error(error, expected):
    dark = torch.zeros(2, 3, 8, 8)
    torch.testing.assert_close(metrics.psnr(dark + error, dark), torch.full((2,), expected), atol=1e-4, rtol=0)
    torch.testing.assert_close(metrics.mae(dark, dark + error), torch.full((2,), error))
    torch.testing.assert_close(metrics.mse(dark, dark + error), torch.full((2,), error**2))


def test_psnr_is_capped():
    image = torch.rand(2, 3, 8, 8)
    assert metrics.psnr(image, image).tolist() == [metrics.PSNR_CAP] * 2
    assert metrics.psnr(image, image + 1e-7).tolist() == [metrics.PSNR_CAP] * 2


def test_foreground_errors_are_plain_loops():
    image, target, mask = pictures()
    for b in range(len(image)):
        inside = [
            float(image[b, c, y, x]) - float(target[b, c, y, x])
            for c in range(3)
            for y in range(SIZE[0])
            for x in range(SIZE[1])
            if mask[b, 0, y, x]
        ]
        absolute, square = sum(map(abs, inside)) / len(inside), sum(e * e for e in inside) / len(inside)
        assert metrics.mae(image, target, mask)[b].item() == pytest.approx(absolute, rel=1e-5)
        assert metrics.mse(image, target, mask)[b].item() == pytest.approx(square, rel=1e-5)
        assert metrics.psnr(image, target, mask)[b].item() == pytest.approx(-10 * math.log10(square), abs=1e-4)


def test_foreground_ignores_the_background():
    image, target, mask = pictures()
    other = torch.where(mask > 0, image, 1 - image)
    for metric in (metrics.mae, metrics.mse, metrics.psnr):
        assert torch.equal(metric(image, target, mask), metric(other, target, mask))
        assert not torch.equal(metric(image, target), metric(other, target))


# ---------------------------------------------------------------- structure


def test_ssim_of_an_image_with_itself():
    image, _, mask = pictures()
    torch.testing.assert_close(metrics.structure(image, image), torch.ones(3))
    torch.testing.assert_close(metrics.structure(image, image, mask), torch.ones(3))


def test_ssim_is_that_of_scikit_image():
    image, target, _ = pictures()
    found = metrics.structure(image, target)
    for b in range(len(image)):
        assert found[b].item() == pytest.approx(skimage_map(image[b], target[b])[1], abs=1e-4)
    assert found.max() < 0.95


def test_ssim_of_the_foreground_has_its_windows_centred_there():
    image, target, mask = pictures()
    for b in range(len(image)):
        full, _ = skimage_map(image[b], target[b])
        values = [full[y, x].mean() for y in range(5, SIZE[0] - 5) for x in range(5, SIZE[1] - 5) if mask[b, 0, y, x]]
        assert metrics.structure(image, target, mask)[b].item() == pytest.approx(np.mean(values), abs=1e-4)


def test_ssim_of_constant_images_knows_the_range():
    one, other = torch.full((1, 3, 12, 12), 0.01), torch.full((1, 3, 12, 12), 0.03)
    expected = (2 * 0.01 * 0.03 + 0.01**2) / (0.01**2 + 0.03**2 + 0.01**2)  # C1 = (0.01 x range 1)^2
    assert metrics.structure(one, other).item() == pytest.approx(expected, abs=1e-4)


# ---------------------------------------------------------------- leakage and overlap


def test_leakage_of_a_neutral_background_is_zero():
    grey = torch.linspace(0, 1, 30).view(1, 1, 5, 6).expand(1, 3, 5, 6)
    inside = torch.zeros(1, 1, 5, 6)
    assert metrics.leakage(grey, inside).item() < 0.01
    inside[..., :3] = 1
    color = torch.where(inside > 0, torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1), grey)
    assert metrics.leakage(color, inside).item() < 0.01


def test_leakage_is_the_chroma_of_scikit_image():
    color, _, inside = pictures()
    for b in range(len(color)):
        chroma = np.hypot(*rgb2lab(color[b].permute(1, 2, 0).numpy())[..., 1:].transpose(2, 0, 1))
        expected = chroma[inside[b, 0].numpy() == 0].mean()
        assert metrics.leakage(color, inside)[b].item() == pytest.approx(expected, abs=0.02)


def test_leakage_takes_colours_out_of_range_as_shown():
    inside = torch.zeros(1, 1, *SIZE)
    color = pictures(1)[0]
    assert torch.equal(metrics.leakage(3 * color - 1, inside), metrics.leakage((3 * color - 1).clamp(0, 1), inside))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 1, 0, 0], [0, 1, 1, 0], 1 / 3),
        ([1, 1, 0, 0], [1, 1, 0, 0], 1),
        ([1, 0, 0, 0], [0, 0, 1, 1], 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1),
        ([1, 0, 0, 0], [0, 0, 0, 0], 0),
        ([0.6, 0.4, 0, 0], [1, 1, 0, 0], 0.5),
    ],
)
def test_iou_by_hand(one, other, expected):
    masks = [torch.tensor(m, dtype=torch.float32).view(1, 1, 2, 2) for m in (one, other)]
    assert metrics.iou(*masks).item() == pytest.approx(expected)
    assert metrics.iou(*reversed(masks)).item() == pytest.approx(expected)


# ---------------------------------------------------------------- all of them


def test_empty_masks_give_nan_and_leave_the_others():
    batch, prediction = case()
    batch["foreground"][1], full = 0, batch["foreground"].clone()
    scores = metrics.colorization(batch, prediction)
    for name in ("fg_mae", "fg_mse", "fg_psnr", "fg_ssim"):
        assert scores[name].isnan().tolist() == [False, True, False], name
    full[1] = 1
    assert metrics.leakage(prediction["color"], full).isnan().tolist() == [False, True, False]


def test_names_and_one_value_an_item():
    batch, prediction = case()
    scores = metrics.colorization(batch, prediction)
    whole = {"mae", "mse", "psnr", "ssim"}
    assert set(scores) == whole | {f"fg_{name}" for name in whole} | {"leakage", "iou"}
    assert all(value.shape == (3,) and value.dtype == torch.float32 for value in scores.values())
    assert "iou" not in metrics.colorization(batch, {"color": prediction["color"]})


def test_order_of_the_batch_is_the_order_of_the_scores():
    batch, prediction = case()
    turned = [{key: value[[2, 0, 1]] for key, value in part.items()} for part in (batch, prediction)]
    scores, moved = metrics.colorization(batch, prediction), metrics.colorization(*turned)
    for name, value in scores.items():
        torch.testing.assert_close(moved[name], value[[2, 0, 1]])
        assert len(set(value.tolist())) == 3, name


def test_autocast_changes_nothing():
    batch, prediction = case()
    scores = metrics.colorization(batch, prediction)
    with torch.autocast("cpu", torch.bfloat16):
        low = metrics.colorization(batch, prediction)
    for name, value in scores.items():
        assert low[name].dtype == torch.float32
        assert torch.equal(low[name], value), name


# ---------------------------------------------------------------- what needs all items


def ranked(count=60, seed=0):
    """Scores with ties and which items are positive."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 12, count) / 4.0).float(), torch.from_numpy(rng.random(count) < 0.3).float()


def test_auc_is_the_share_of_pairs_in_the_right_order():
    score, positive = ranked()
    pairs = [
        (score[i] > score[j]).item() + 0.5 * (score[i] == score[j]).item()
        for i in range(len(score))
        for j in range(len(score))
        if positive[i] and not positive[j]
    ]
    parts = metrics.auc_parts(score, positive)
    assert parts.nanmean().item() == pytest.approx(np.mean(pairs))
    assert torch.equal(parts.isnan(), positive == 0)


def test_average_precision_is_the_sum_over_the_steps_of_recall():
    score, positive = ranked()
    expected, recall = 0.0, 0.0
    for level in score.unique().flip(0):
        above = score >= level
        now = (positive[above].sum() / positive.sum()).item()
        expected += (now - recall) * positive[above].mean().item()
        recall = now
    parts = metrics.precision_parts(score, positive)
    assert parts.nanmean().item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(parts.isnan(), positive == 0)


def test_a_side_that_is_missing_has_no_auc():
    score, _ = ranked()
    assert metrics.auc_parts(score, torch.ones(60)).isnan().all()
    assert metrics.auc_parts(score, torch.zeros(60)).isnan().all()
    assert metrics.precision_parts(score, torch.zeros(60)).isnan().all()
