"""The variation of images: each part against kornia or a loop made by hand, and the whole in its bounds."""

import dataclasses
import math

import kornia
import pytest
import torch
from torch.nn import functional as F

from workbench.errors import InvalidParameter
from workbench.models import augment as parts
from workbench.models.augment import TRIES, Recipe, augment

STILL = Recipe(
    size=32, crop=1, ratio=1, turn=0, flip=0, grey=0, brightness=0, contrast=0, saturation=0, hue=0, holes=0,
    mean=(0.0,), deviation=(1.0,),
)  # fmt: skip


def changed(**values) -> Recipe:
    return dataclasses.replace(STILL, **values)


def rand(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def smooth(count: int, side: int, seed: int = 0, channels: int = 3) -> torch.Tensor:
    """Images without sharp edges, within [0.2, 0.8]."""
    coarse = rand(count, channels, 5, 5, seed=seed) * 0.6 + 0.2
    return F.interpolate(coarse, (side, side), mode="bicubic", align_corners=True).clamp(0.2, 0.8)


def close(one: torch.Tensor, other: torch.Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(one, other.to(one.dtype), atol=atol, rtol=0)


# ---------------------------------------------------------------- geometry


def test_a_recipe_that_does_nothing_returns_the_images():
    images = rand(4, 3, 32, 32)
    close(augment(images, rand(4, STILL.draws), STILL), images)


def test_a_crop_is_what_kornia_makes_of_the_same_box():
    images, height, width = smooth(6, 40)[:, :, :36], 36, 40
    place, half = rand(6, 2, seed=1) * 0.4 - 0.2, 0.3 + 0.4 * rand(6, 2, seed=2)
    made = parts.moved(images, place, half, torch.zeros(6).double(), torch.zeros(6, dtype=torch.bool), 24)
    sides = images.new_tensor([width, height])
    low, high = ((place - half + 1) / 2 * sides, (place + half + 1) / 2 * sides)
    for i in range(6):
        ys = low[i, 1] + (torch.arange(24).double() + 0.5) / 24 * (high[i, 1] - low[i, 1]) - 0.5
        xs = low[i, 0] + (torch.arange(24).double() + 0.5) / 24 * (high[i, 0] - low[i, 0]) - 0.5
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        wanted = kornia.geometry.remap(images[i : i + 1], grid_x[None], grid_y[None], align_corners=True)
        close(made[i : i + 1], wanted)


def test_a_crop_of_whole_pixels_is_a_cut_and_a_resize():
    images, turn = smooth(1, 32), torch.zeros(1).double()
    place, half = images.new_tensor([[-0.25, 0.25]]), images.new_tensor([[0.5, 0.5]])  # columns 4 to 20, rows 12 to 28
    made = parts.moved(images, place, half, turn, turn > 0, 32)
    wanted = F.interpolate(images[:, :, 12:28, 4:20], (32, 32), mode="bilinear", align_corners=False)
    close(made[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2])  # at its edge the crop sees the image's next pixel


@pytest.mark.parametrize("degrees", [-30.0, 7.0, 90.0, 180.0])
def test_rotation_is_that_of_kornia_in_direction_and_amount(degrees):
    images = smooth(2, 33)
    angle = torch.full((2,), math.radians(degrees)).double()
    still = torch.zeros(2, 2).double()
    made = parts.moved(images, still, still + 1, angle, torch.zeros(2, dtype=torch.bool), 33)
    wanted = kornia.geometry.rotate(images, torch.full((2,), degrees).double(), align_corners=True)
    close(made, wanted, 1e-5)


def test_the_flip_comes_after_the_rotation_and_is_drawn_for_each_image():
    images, numbers = smooth(8, 32), rand(8, STILL.draws)
    flips = numbers[:, 2 * TRIES + 3] < 0.5
    assert 0 < flips.sum() < 8
    turned = augment(images, numbers, changed(turn=20))
    both = augment(images, numbers, changed(turn=20, flip=0.5))
    close(both, torch.where(flips[:, None, None, None], turned.flip(3), turned))


def test_a_rotated_crop_is_black_beyond_the_crop():
    images, numbers = torch.ones(1, 1, 64, 64), torch.full((1, STILL.draws), 0.25)
    made = augment(images, numbers, changed(crop=0.3, turn=40))
    assert made[0, 0, 0, 0] == made[0, 0, -1, -1] == 0 and made[0, 0, 16, 16] == pytest.approx(1)


def loop_of_crops(numbers, height, width, recipe):
    """As torchvision's get_params draws them, one image and one try after another, without rounding to pixels."""
    for number in range(TRIES):
        area = height * width * (recipe.crop + (1 - recipe.crop) * float(numbers[number]))
        low, high = -math.log(recipe.ratio), math.log(recipe.ratio)
        ratio = math.exp(low + (high - low) * float(numbers[TRIES + number]))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            break
    else:
        own = width / height
        w, h = width, height
        if own < 1 / recipe.ratio:
            h = w * recipe.ratio
        elif own > recipe.ratio:
            w = h * recipe.ratio
    left, top = float(numbers[-2]) * (width - w), float(numbers[-1]) * (height - h)
    return [left, top, left + w, top + h]


@pytest.mark.parametrize(("height", "width"), [(50, 50), (40, 60), (20, 90), (90, 20)])
def test_crops_are_the_first_that_fit(height, width):
    recipe, numbers = Recipe(crop=0.5, ratio=1.5), rand(200, 2 * TRIES + 2)
    place, half = parts.crops(numbers, height, width, recipe)
    sides = torch.tensor([width, height]).double()
    made = torch.cat([(place - half + 1) / 2 * sides, (place + half + 1) / 2 * sides], 1)
    close(made, torch.tensor([loop_of_crops(row, height, width, recipe) for row in numbers], dtype=torch.float64), 1e-9)
    assert (made[:, :2] > -1e-9).all() and (made[:, 2:] < sides + 1e-9).all()
    assert len(made.round(decimals=6).unique(dim=0)) > (1 if (height, width) == (50, 50) else 0)


def test_crops_are_spread_as_those_of_kornia():
    torch.manual_seed(0)
    torch_crops = kornia.augmentation.RandomResizedCrop((8, 8), scale=(0.2, 1.0))
    box = torch_crops.generate_parameters(torch.Size((4000, 3, 400, 400)))["src"]
    theirs = torch.stack([(box[:, 2] - box[:, 0] + 1).prod(1) / 400**2, (box[:, 2] - box[:, 0] + 1)[:, 0] / 400], 1)
    _, half = parts.crops(rand(4000, 2 * TRIES + 2), 400, 400, Recipe())
    ours = torch.stack([half.prod(1), half[:, 0]], 1)
    levels = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    close(ours.quantile(levels, dim=0), theirs.double().quantile(levels, dim=0), 0.03)


# ---------------------------------------------------------------- colour


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_colour_change_is_that_of_kornia(name):
    images, recipe = smooth(16, 16), changed(**{name: 0.3})
    numbers = rand(16, 5, seed=3) * 0.5  # factors below 1, which cut nothing off
    draw = 2 * numbers[:, 1 + ["brightness", "contrast", "saturation", "hue"].index(name)] - 1
    wanted = {
        "brightness": lambda: images * (1 + 0.3 * draw)[:, None, None, None],
        "contrast": lambda: kornia.enhance.adjust_contrast_with_mean_subtraction(images, 1 + 0.3 * draw),
        "saturation": lambda: kornia.enhance.adjust_saturation_with_gray_subtraction(images, 1 + 0.3 * draw),
        "hue": lambda: kornia.enhance.adjust_hue(images, 0.3 * draw * 2 * math.pi),
    }[name]()
    close(parts.colored(images, numbers, recipe), wanted)
    assert (wanted - images).abs().max() > 0.05


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_brightness_contrast_and_saturation_commute_and_the_hue_comes_last(order):
    images, numbers = smooth(8, 16), rand(8, 5, seed=4)
    recipe = changed(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.4)
    b, c, s, h = (2 * numbers[:, 1:] - 1).unbind(1)
    steps = [
        lambda x: x * (1 + 0.2 * b)[:, None, None, None],
        lambda x: kornia.enhance.adjust_contrast_with_mean_subtraction(x, 1 + 0.2 * c),
        lambda x: kornia.enhance.adjust_saturation_with_gray_subtraction(x, 1 + 0.2 * s),
    ]
    wanted = images * 0.6 + 0.05  # so that no step cuts anything off
    made = parts.colored(wanted, numbers, recipe)
    for step in order:
        wanted = steps[step](wanted)
    close(made, kornia.enhance.adjust_hue(wanted, 0.4 * h * 2 * math.pi))


def test_what_is_grey_has_no_colour_whatever_its_saturation_and_hue():
    images, numbers = smooth(32, 16), rand(32, 5, seed=5)
    recipe = changed(grey=0.5, brightness=0.2, contrast=0.2, saturation=0.4, hue=0.4)
    made, grey = parts.colored(images, numbers, recipe), numbers[:, 0] < 0.5
    spread = (made.amax(1) - made.amin(1)).amax((1, 2))
    assert 0 < grey.sum() < 32 and (spread[grey] < 1e-9).all() and (spread[~grey] > 0.05).all()
    luma = kornia.color.rgb_to_grayscale(images)
    plain = parts.colored(luma.expand(-1, 3, -1, -1), numbers, changed(brightness=0.2, contrast=0.2))
    close(made[grey], plain[grey])


def test_colours_stay_within_their_range():
    images = rand(16, 3, 16, 16)
    recipe = Recipe(brightness=1, contrast=1, saturation=1, hue=0.5)
    made = parts.colored(images, rand(16, 5, seed=6), recipe)
    assert made.min() == 0 and made.max() == 1


def test_one_channel_is_varied_as_three_equal_ones():
    images, recipe = rand(6, 1, 40, 40), Recipe(size=32, hole=8)
    numbers = rand(6, recipe.draws)
    alone, three = augment(images, numbers, recipe), augment(images.expand(-1, 3, -1, -1), numbers, recipe)
    assert alone.shape == three.shape == (6, 3, 32, 32)
    close(alone, three)
    one = dataclasses.replace(recipe, mean=(0.5,), deviation=(0.25,))
    assert augment(images, numbers, one).shape == (6, 1, 32, 32)


def test_normalization_is_that_of_kornia():
    images = rand(3, 3, 8, 8)
    mean, deviation = (torch.tensor(values).double() for values in (parts.MEAN, parts.DEVIATION))
    close(parts.normalized(images, Recipe()), kornia.enhance.normalize(images, mean, deviation))


# ---------------------------------------------------------------- Cutout


def test_holes_are_those_of_a_loop():
    recipe, numbers, images = changed(holes=3, hole=9, size=32), rand(5, 6), rand(5, 3, 32, 32) + 1
    wanted = images.clone()
    for image, row in zip(wanted, numbers):
        for hole in range(3):
            y, x = (int(float(row[hole + 3 * axis]) * 32) for axis in (0, 1))
            image[:, max(0, y - 4) : y + 5, max(0, x - 4) : x + 5] = 0
    made = parts.cut_out(images, numbers, recipe)
    assert torch.equal(made, wanted) and (made == 0).any()


def test_holes_come_after_the_normalization():
    recipe = changed(holes=1, hole=8, mean=(0.5,), deviation=(0.1,))
    made = augment(torch.ones(2, 1, 32, 32), torch.full((2, recipe.draws), 0.5), recipe)
    assert made[0, 0, 16, 16] == 0 and made[0, 0, 0, 0] == pytest.approx(5)


# ---------------------------------------------------------------- the whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_type_gives_the_same_images_in_its_precision(dtype):
    recipe, images = Recipe(size=32, hole=8), smooth(4, 40)
    numbers = rand(4, recipe.draws, dtype=torch.float32)
    made = augment(images.to(dtype), numbers, recipe)
    assert made.dtype == dtype
    wanted = augment(images.to(dtype).double(), numbers.double(), recipe)
    close(made.double(), wanted, 4 * torch.finfo(dtype).eps if dtype != torch.float32 else 1e-4)


def test_autocast_changes_nothing():
    recipe, images = Recipe(size=32, hole=8), smooth(4, 40).float()
    numbers = rand(4, recipe.draws).float()
    with torch.autocast("cpu", torch.bfloat16):
        made = augment(images, numbers, recipe)
    assert torch.equal(made, augment(images, numbers, recipe))


def test_an_image_is_decided_by_its_own_numbers_alone():
    recipe, images = Recipe(size=32, hole=8), smooth(6, 40).float()
    numbers = rand(6, recipe.draws).float()
    whole = augment(images, numbers, recipe)
    assert torch.equal(whole, augment(images, numbers, recipe))
    assert torch.equal(whole[2:4], augment(images[2:4], numbers[2:4], recipe))
    same = augment(images[:1].expand(6, -1, -1, -1), numbers, recipe)
    assert len(same.unique(dim=0)) == 6


@pytest.mark.parametrize(
    "field", ["crop", "turn", "flip", "grey", "brightness", "contrast", "saturation", "hue", "holes"]
)
def test_every_setting_does_something(field):
    images, numbers = smooth(8, 32), rand(8, Recipe().draws)
    value = {"crop": 0.2, "turn": 10.0, "holes": 3, "hue": 0.4}.get(field, 0.5)
    recipe = changed(**{field: value}, hole=8)
    made = augment(images, numbers[:, : recipe.draws], recipe)
    assert ((made - images).abs().amax((1, 2, 3)) > 0.01).any()


@pytest.mark.parametrize(
    ("images", "numbers", "told"),
    [
        (torch.zeros(2, 2, 8, 8), torch.zeros(2, 35), "(B, 1 or 3, H, W) of a floating type"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 35), "divide pixels by 255"),
        (torch.zeros(3, 8, 8), torch.zeros(3, 35), "found (3, 8, 8)"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, 34), "(2, 35): recipe.draws for each image, found (2, 34)"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(1, 35), "found (1, 35)"),
    ],
)
def test_wrong_shapes_are_told(images, numbers, told):
    with pytest.raises(InvalidParameter) as error:
        augment(images, numbers, Recipe())
    assert told in str(error.value)


@pytest.mark.parametrize("values", [{"crop": 0.0}, {"hue": 0.6}, {"ratio": 0.5}, {"mean": (0.5,)}, {"grey": 1.5}])
def test_wrong_recipes_are_told(values):
    with pytest.raises(InvalidParameter):
        Recipe(**values)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_makes_the_same_images():
    recipe, images = Recipe(size=32, hole=8), smooth(6, 40).float()
    numbers = rand(6, recipe.draws).float()
    close(augment(images.cuda(), numbers.cuda(), recipe).cpu(), augment(images, numbers, recipe), 1e-4)
