"""The variation of images for contrastive learning, a whole batch at a time on any device: `augment` by a `Recipe`.

Crop, rotation and flip become one affine map and one grid_sample. Brightness, contrast and saturation, a grey image
being one of saturation 0, become one affine map of the colours: they commute, as each keeps the mean luma or scales it.
Nothing is drawn here: each image is decided by its own row of numbers, so a resumed run sees the same images, and a
batch spread over processes those of the whole one.

Source: the transforms of C2L's released code (RandomResizedCrop, RandomRotation, RandomGrayscale, ColorJitter, flip,
ImageNet mean and deviation, Cutout). Inferred: crops begin between pixels, the hue is turned last where the release
shuffles the four, and colours are cut to [0, 1] once, not after each of the four.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.config import Bound, Config, Count, Fraction, Natural
from workbench.errors import InvalidParameter

TRIES = 10  # crops drawn for an image, of which the first that fits is taken (torchvision)
LUMA = (0.299, 0.587, 0.114)  # Rec. 601
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, red, green and blue


@dataclass(frozen=True)
class Recipe(Config):
    """How far images are varied; the defaults are those of C2L at 224 pixels, `Recipe(crop=1, turn=0, ...)` leaves out.

    >>> Recipe().draws, Recipe(holes=1).draws
    (35, 31)
    """

    size: Count = 224  # side of the images that come out, pixels (official code)
    crop: Annotated[float, Bound(0, 1, open=True)] = 0.2  # least part of the area that is cropped (official code)
    ratio: Annotated[float, Bound(1)] = 4 / 3  # largest width over height of a crop, or height over width (torchvision)
    turn: Annotated[float, Bound(0, 180)] = 10.0  # largest rotation, degrees; black beyond the crop (official code)
    flip: Fraction = 0.5  # probability of a horizontal flip (torchvision)
    grey: Fraction = 0.2  # probability that colours are taken away (official code)
    brightness: Fraction = 0.4  # largest change of the factor 1 (official code)
    contrast: Fraction = 0.4  # largest change of the factor 1 (official code)
    saturation: Fraction = 0.4  # largest change of the factor 1 (official code)
    hue: Annotated[float, Bound(0, 0.5)] = 0.4  # largest shift, turns of the colour circle (official code)
    holes: Natural = 3  # squares that Cutout puts to 0 (official code)
    hole: Natural = 32  # their side, pixels; squares at the border are cut off there (official code)
    mean: tuple[float, ...] = MEAN  # what is subtracted from each channel (ImageNet)
    deviation: tuple[float, ...] = DEVIATION  # what it is then divided by (ImageNet)

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = (len(self.mean), len(self.deviation))
        if counts not in ((1, 1), (3, 3)) or min(self.deviation) <= 0:
            found = f"{self.mean} and {self.deviation}"
            remedy = "leave them out for those of ImageNet, or give (0.0,) and (1.0,) for none"
            raise InvalidParameter("mean, deviation", "one or three numbers each, deviations above 0", found, remedy)

    @property
    def draws(self) -> int:
        """The numbers that one image takes."""
        return 2 * TRIES + 9 + 2 * self.holes


def augment(images: Tensor, numbers: Tensor, recipe: Recipe) -> Tensor:
    """Images (B, C, H, W) in [0, 1], C 1 or 3, varied and normalized: (B, C, S, S) of that type, S the recipe's size.

    Grey images come out with three channels where the recipe has three means; their hue and saturation stay. Cutout
    comes last and writes 0, the mean. All is calculated in float32 at least, autocast or not.

    Args:
        images: On any device; of any floating type.
        numbers: (B, recipe.draws), uniform in [0, 1), on the same device.
        recipe: What is done.

    Raises:
        InvalidParameter: other shapes or types.
    """
    check(images, numbers, recipe)
    exact = torch.promote_types(images.dtype, torch.float32)
    widths = [2 * TRIES + 2, 1, 1, 5, 2 * recipe.holes]
    crop, turn, flip, color, holes = numbers.to(exact).split(widths, dim=1)
    with torch.autocast(images.device.type, enabled=False):
        centre, half = crops(crop, images.shape[2], images.shape[3], recipe)
        angle = torch.deg2rad(recipe.turn * (2 * turn[:, 0] - 1))
        made = moved(images.to(exact), centre, half, angle, flip[:, 0] < recipe.flip, recipe.size)
        made = normalized(colored(made, color, recipe), recipe)
        return cut_out(made, holes, recipe).to(images.dtype)


def check(images: Tensor, numbers: Tensor, recipe: Recipe) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
        found = f"{tuple(images.shape)} of {images.dtype}"
        raise InvalidParameter("images", "(B, 1 or 3, H, W) of a floating type", found, "divide pixels by 255")
    if numbers.shape != (len(images), recipe.draws):
        expected = f"({len(images)}, {recipe.draws}): recipe.draws for each image"
        raise InvalidParameter("numbers", expected, str(tuple(numbers.shape)), "draw them with rand(B, recipe.draws)")


# ---------------------------------------------------------------- geometry


def crops(numbers: Tensor, height: int, width: int, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Centre and half size (B, 2) of the crops, x and y, where the image spans [-1, 1].

    The area is uniform in [recipe.crop, 1], the logarithm of the ratio uniform; the first of the tries that fits into
    the image, or as much of it as has a ratio that is allowed. `numbers` (B, 2 TRIES + 2): areas, ratios, place.
    """
    area, ratio, place = numbers.split([TRIES, TRIES, 2], dim=1)
    area = recipe.crop + (1 - recipe.crop) * area
    ratio = torch.exp(math.log(recipe.ratio) * (2 * ratio - 1))  # width / height, pixels
    half = torch.stack([(area * ratio * height / width).sqrt(), (area / ratio * width / height).sqrt()], 2)
    fits = (half <= 1).all(2)
    first = fits.to(torch.uint8).argmax(1)  # 0 where none fits
    taken = half[torch.arange(len(half), device=half.device), first]
    own = width / height
    limited = min(max(own, 1 / recipe.ratio), recipe.ratio)
    whole = half.new_tensor([min(1.0, limited / own), min(1.0, own / limited)])
    half = torch.where(fits.any(1, keepdim=True), taken, whole)
    return (1 - half) * (2 * place - 1), half


def moved(images: Tensor, centre: Tensor, half: Tensor, angle: Tensor, flip: Tensor, size: int) -> Tensor:
    """Crops of the images (B, C, H, W), scaled to a square, rotated anticlockwise by `angle` (B,), and then flipped.

    Bilinear and without a low pass: meant for crops of at most about twice the size that comes out. What the rotation
    brings in from beyond the crop is black, its edge as soft as if the crop had been padded with zeros.
    """
    sign = torch.where(flip, -1.0, 1.0).to(images.dtype)
    line = torch.arange(size, dtype=images.dtype, device=images.device) - (size - 1) / 2  # pixels from the middle
    cos, sin = (value[:, None, None] for value in (angle.cos(), angle.sin()))
    along, down = sign[:, None, None] * line, line[:, None]
    terms = ((cos * along, -sin * down), (sin * along, cos * down))  # x and y in the crop: each a row and a column
    grid = images.new_empty(len(images), size, size, 2)
    for axis, (row, column) in enumerate(terms):
        scale = half[:, axis, None, None] * (2 / size)
        torch.add(scale * row + centre[:, axis, None, None], scale * column, out=grid[..., axis])  # stack takes longer
    made = F.grid_sample(images, grid, "bilinear", "border", align_corners=False)
    beyond = torch.maximum(*(torch.add(row, column).abs_() for row, column in terms))
    return made * beyond.neg_().add_((size + 1) / 2).clamp_(0, 1)[:, None]


# ---------------------------------------------------------------- colour


def colored(images: Tensor, numbers: Tensor, recipe: Recipe) -> Tensor:
    """Images (B, C, H, W) in [0, 1] with other brightness, contrast, saturation and hue, some grey.

    With b, c and s the factors, L the luma and m its mean over the image: b (c (s x + (1 - s) L) + (1 - c) m), cut to
    [0, 1]; then the hue is turned. `numbers` (B, 5): grey, brightness, contrast, saturation, hue.
    """
    grey, *draws, hue = numbers[:, :, None, None, None].unbind(1)
    spans = (recipe.brightness, recipe.contrast, recipe.saturation)
    b, c, s = (1 + span * (2 * draw - 1) for span, draw in zip(spans, draws))
    s = torch.where(grey < recipe.grey, 0, s)
    luma = images
    if colors := images.shape[1] == 3:
        red, green, blue = images.split(1, 1)
        luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    offset = b * (1 - c) * luma.mean((2, 3), keepdim=True)
    if not colors:
        return torch.addcmul(offset, images, b * c).clamp_(0, 1)
    made = torch.addcmul(torch.addcmul(offset, luma, b * c * (1 - s)), images, b * c * s).clamp_(0, 1)
    return shifted(made, recipe.hue * (2 * hue[:, 0] - 1)) if recipe.hue else made


def shifted(images: Tensor, turns: Tensor) -> Tensor:
    """RGB (B, 3, H, W) with the hue of HSV moved by so many turns (B, 1, 1); value and chroma stay."""
    red, green, blue = images.unbind(1)
    top, low = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    chroma, is_red, is_green = top - low, red == top, green == top
    rise = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    hue = rise.div_(chroma.clamp_min(1e-12)).add_(torch.where(is_red, 0.0, torch.where(is_green, 2.0, 4.0)))
    hue = hue.add_(6 * turns)
    hue = torch.addcmul(hue, hue.mul(1 / 6).floor_(), hue.new_tensor(-6.0))  # in [0, 6): remainder, 5 times as fast
    centre, slope, start = (hue.new_tensor(v)[:, None, None] for v in ((3, 2, 4), (1, -1, -1), (-1, 2, 2)))
    part = torch.addcmul(start, (hue[:, None] - centre).abs_(), slope).clamp_(0, 1)
    return torch.addcmul(low[:, None], chroma[:, None], part)


def normalized(images: Tensor, recipe: Recipe) -> Tensor:
    """Images (B, C, H, W) in [0, 1] less the recipe's means, over its deviations; grey ones get as many channels."""
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in (recipe.mean, recipe.deviation))
    return torch.addcmul(-mean / deviation, images, 1 / deviation)


def cut_out(images: Tensor, numbers: Tensor, recipe: Recipe) -> Tensor:
    """Images (B, C, S, S) with squares of 0 around pixels that `numbers` (B, 2 holes) choose: rows, then columns."""
    if not (recipe.holes and recipe.hole):
        return images
    place = torch.arange(images.shape[2], device=images.device)
    first = (numbers * images.shape[2]).floor() - recipe.hole // 2
    within = (place >= first[..., None]) & (place < first[..., None] + recipe.hole)
    rows, columns = within.chunk(2, 1)  # (B, holes, S) each
    return images.masked_fill((rows[..., None] & columns[:, :, None]).any(1)[:, None], 0)
