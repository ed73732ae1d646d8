"""The differentiable histogram and its distances: by hand, against independent references, through gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workbench.errors import InvalidParameter
from workbench.losses.histogram import histogram, histogram_loss, squared, wasserstein


def uniform(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slow(values, bins):
    """One value after the other, each shared between the two nearest bins."""
    counts = np.zeros(bins)
    for value in values:
        place = min(max(value, 0.0), 1.0) * (bins - 1)
        lower = min(int(place), bins - 2)
        counts[lower] += 1 - (place - lower)
        counts[lower + 1] += place - lower
    return counts / len(values)


# ---------------------------------------------------------------- the histogram


def test_shares_by_hand():
    found = histogram(torch.tensor([[[0.0, 0.25, 1.0, 1.0], [0.5, 0.5, 0.5, 0.75]]]), bins=3)
    assert found.tolist() == [[[0.375, 0.125, 0.5], [0.0, 0.875, 0.125]]]


@pytest.mark.parametrize("bins", [2, 3, 32, 256])
@pytest.mark.parametrize("shape", [(1, 1, 5), (2, 3, 7, 5), (2, 4, 3, 6, 5)])
def test_equals_a_slow_reference_for_any_batch_channels_and_axes(bins, shape):
    image = 1.4 * uniform(*shape, dtype=torch.float64) - 0.2  # some values outside [0, 1]
    found = histogram(image, bins)
    assert found.shape == (*shape[:2], bins)
    for row, values in zip(found.flatten(0, 1), image.flatten(2).flatten(0, 1), strict=True):
        np.testing.assert_allclose(row.numpy(), slow(values.tolist(), bins), atol=1e-12)


def test_levels_that_are_bins_are_counted_exactly():
    levels = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    found = histogram(levels.double() / 255, 256) * 256
    for row, values in zip(found.flatten(0, 1), levels.flatten(2).flatten(0, 1), strict=True):
        np.testing.assert_allclose(row.numpy(), np.bincount(values.numpy(), minlength=256), atol=1e-9)


@given(st.integers(0, 999), st.integers(2, 80))
@settings(max_examples=60, deadline=None)
def test_rows_sum_to_one_and_keep_the_mean(seed, bins):
    image = uniform(2, 3, 9, 7, seed=seed, dtype=torch.float64)
    found = histogram(image, bins)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    means = (found * torch.linspace(0, 1, bins, dtype=torch.float64)).sum(-1)
    torch.testing.assert_close(means, image.mean((2, 3)))


@given(st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_order_of_pixels_does_not_matter(seed):
    image = uniform(1, 3, 8, 8, seed=seed)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
    shuffled = image.flatten(2)[..., order].view_as(image)
    torch.testing.assert_close(histogram(shuffled, 32), histogram(image, 32), atol=1e-6, rtol=0)
    assert histogram_loss(shuffled, histogram(image, 32)).item() == pytest.approx(0, abs=1e-6)


def test_float32_whatever_the_precision_around():
    image = uniform(1, 3, 64, 64)
    assert histogram(image.bfloat16()).dtype == torch.float32 and histogram(image.double()).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(histogram(image), histogram(image.double()).float())


def test_values_that_are_no_numbers_show_in_the_counts():
    """So that the loop can name a loss that is not finite; an index out of range would end the process."""
    image = uniform(1, 1, 4, 4)
    image[0, 0, 0, 0] = torch.nan
    assert histogram(image, 8).isnan().any()


@pytest.mark.parametrize(("image", "bins"), [((1, 1, 4), 1), ((3, 4), 8), ((1, 1, 0), 8)])
def test_what_cannot_be_counted_is_refused(image, bins):
    with pytest.raises(InvalidParameter, match="expected") as caught:
        histogram(torch.zeros(image), bins)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- the gradient


@pytest.mark.parametrize("bins", [2, 5, 64])
@pytest.mark.parametrize("shape", [(1, 1, 6), (2, 3, 4, 3)])
def test_gradient_of_the_histogram(bins, shape):
    image = uniform(*shape, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: histogram(values, bins), (image,))


@pytest.mark.parametrize("distance", ["wasserstein", "l2"])
def test_gradient_of_the_losses(distance):
    image = uniform(2, 3, 5, 4, dtype=torch.float64).requires_grad_()
    reference = histogram(uniform(2, 3, 5, 4, seed=1, dtype=torch.float64), 16)
    assert torch.autograd.gradcheck(lambda values: histogram_loss(values, reference, distance), (image,))


def test_gradient_outside_the_range_is_none():
    image = torch.tensor([[[-0.3, 0.4, 1.7]]], requires_grad=True)
    weights = torch.arange(8.0)
    (histogram(image, 8) * weights).sum().backward()
    assert image.grad[0, 0].tolist() == pytest.approx([0, 7 / 3, 0])


@pytest.mark.parametrize("distance", ["wasserstein", "l2"])
def test_gradient_is_finite_and_not_zero(distance):
    image = uniform(2, 3, 16, 16).requires_grad_()
    histogram_loss(image, histogram(0.5 * uniform(2, 3, 16, 16, seed=1)), distance).sum().backward()
    assert torch.isfinite(image.grad).all() and (image.grad != 0).float().mean() > 0.5


def test_without_a_common_bin_wasserstein_pulls_and_l2_does_not_say_where_to():
    """All values in one bin's middle, the reference far away: every pixel is pulled up by 1 / N."""
    reference = torch.zeros(1, 1, 11)
    reference[..., 10] = 1
    pulls = {}
    for distance in ("wasserstein", "l2"):
        image = torch.full((1, 1, 4), 0.23, requires_grad=True)
        histogram_loss(image, reference, distance).sum().backward()
        pulls[distance] = image.grad[0, 0]
    assert pulls["wasserstein"].tolist() == pytest.approx([-0.25] * 4)
    assert (pulls["l2"] < 0).all(), "towards the middle between two bins, and no farther"
    image = torch.full((1, 1, 4), 0.27, requires_grad=True)
    histogram_loss(image, reference, "l2").sum().backward()
    assert (image.grad > 0).all(), "away from the reference, back to that middle"


def test_the_reference_gets_no_gradient():
    other = uniform(1, 3, 8, 8).requires_grad_()
    image = uniform(1, 3, 8, 8, seed=1).requires_grad_()
    histogram_loss(image, histogram(other, 16)).sum().backward()
    assert other.grad is None and image.grad is not None


# ---------------------------------------------------------------- the distances


@given(st.integers(0, 999), st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_wasserstein_is_that_of_scipy(seed, bins):
    one, other = (uniform(bins, seed=seed + n, dtype=torch.float64) for n in (0, 1))
    one, other = one / one.sum(), other / other.sum()
    places = np.linspace(0, 1, bins)
    wanted = stats.wasserstein_distance(places, places, one.numpy(), other.numpy())
    assert wasserstein(one, other).item() == pytest.approx(wanted, abs=1e-9)


def test_wasserstein_of_a_shift_is_the_shift():
    image = 0.2 + 0.5 * uniform(2, 3, 12, 12, dtype=torch.float64)
    for shift in (0.05, 0.1, 0.25):
        found = histogram_loss(image + shift, histogram(image, 64))
        torch.testing.assert_close(found, torch.full((2,), shift, dtype=torch.float64))


@pytest.mark.parametrize("distance", ["wasserstein", "l2"])
def test_zero_of_itself_and_symmetric(distance):
    one, other = (histogram(uniform(1, 3, 8, 8, seed=n), 16) for n in (0, 1))
    measure = {"wasserstein": wasserstein, "l2": squared}[distance]
    assert not measure(one, one).any()
    torch.testing.assert_close(measure(one, other), measure(other, one))


def test_loss_grows_with_a_shift_of_the_colours():
    image = 0.3 + 0.3 * uniform(1, 3, 16, 16)
    reference = histogram(image, 64)
    losses = [histogram_loss(image + shift, reference).item() for shift in np.linspace(0, 0.35, 12)]
    assert all(np.diff(losses) > 0)


def test_l2_by_hand():
    assert squared(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.0, 0.5, 0.5])).item() == 0.5


def test_loss_is_one_value_an_image():
    image = uniform(4, 3, 8, 8)
    found = histogram_loss(image, histogram(uniform(4, 3, 8, 8, seed=1), 16))
    alone = [histogram_loss(image[n : n + 1], histogram(uniform(4, 3, 8, 8, seed=1), 16)[n : n + 1]) for n in range(4)]
    torch.testing.assert_close(found, torch.cat(alone))
