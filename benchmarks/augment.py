"""The variation of images for contrastive learning against kornia's and albumentations' pipelines, images a second.

All make the same things: crop and scale, rotation, grey, colour jitter, flip, normalization, three holes. First their
outputs must agree in mean, spread and share of what is cut out, over many images. Then they take turns on a batch of
256 -> 224 pixels; albumentations, which goes image by image in uint8 on the CPU, runs where it is installed.

    python benchmarks/augment.py [--batch 32] [--repeats 9] [--device cpu]

albumentations is not among the dependencies: pip install --target SITE albumentations, and add SITE to PYTHONPATH.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import kornia.augmentation as K
import numpy as np
import torch

from workbench.models.augment import DEVIATION, MEAN, Recipe, augment

SIDE = 256
COMPARED = 768  # images of each way whose outputs must agree: the mean is known to about 0.03
Way = Callable[[torch.Tensor], torch.Tensor]


def pictures(count: int, channels: int) -> torch.Tensor:
    """Smooth images in [0, 1] of many colours."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(0, 1)


def ours(images: torch.Tensor) -> torch.Tensor:
    recipe = Recipe()
    return augment(images, torch.rand(len(images), recipe.draws, device=images.device), recipe)


def by_kornia(channels: int) -> Way:
    jitter = K.ColorJitter(0.4, 0.4, 0.4, 0.4, p=1.0) if channels == 3 else K.ColorJitter(0.4, 0.4, 0.0, 0.0, p=1.0)
    steps = [K.RandomResizedCrop((224, 224), scale=(0.2, 1.0)), K.RandomRotation(10.0)]
    steps += [K.RandomGrayscale(p=0.2)] if channels == 3 else []
    steps += [jitter, K.RandomHorizontalFlip()]
    varied, norm = K.AugmentationSequential(*steps), K.Normalize(MEAN, DEVIATION)
    hole = (32 / 224) ** 2
    holes = torch.nn.Sequential(*[K.RandomErasing((hole, hole), (1.0, 1.0), p=1.0) for _ in range(3)])

    def act(images: torch.Tensor) -> torch.Tensor:
        made = varied(images)
        return holes(norm(made.expand(-1, 3, -1, -1)))

    return act


def by_albumentations() -> Way | None:
    try:
        import albumentations as A
    except ImportError:
        return None
    spread = (0.6, 1.4)
    steps = A.Compose([
        A.RandomResizedCrop(size=(224, 224), scale=(0.2, 1.0)), A.Rotate(limit=10, border_mode=0, p=1.0),
        A.ToGray(p=0.2), A.ColorJitter(spread, spread, spread, (-0.4, 0.4), p=1.0), A.HorizontalFlip(p=0.5),
        A.Normalize(MEAN, DEVIATION),
        A.CoarseDropout(num_holes_range=(3, 3), hole_height_range=(32, 32), hole_width_range=(32, 32), fill=0, p=1.0),
    ])  # fmt: skip

    def act(images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(
            np.stack([steps(image=image)["image"] for image in images]).transpose(0, 3, 1, 2).copy()
        )

    return act


def compare(made: dict[str, torch.Tensor]) -> dict[str, dict[str, float]]:
    """Mean, spread and share of zeros of each way; they must agree with those of the first."""
    told = {
        name: {"mean": float(x.mean()), "std": float(x.std()), "cut out": float((x.abs().amax(1) == 0).float().mean())}
        for name, x in made.items()
    }
    first = next(iter(told.values()))
    for name, values in told.items():
        for key, limit in (("mean", 0.1), ("std", 0.1), ("cut out", 0.02)):
            if abs(values[key] - first[key]) > limit:
                raise SystemExit(f"{name}: {key} {values[key]:.3f} against {first[key]:.3f}: not the same thing")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "augment.json")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    colored, grey = (pictures(chosen.batch, channels).to(chosen.device) for channels in (3, 1))
    encoded = (colored.cpu() * 255).round().byte().permute(0, 2, 3, 1).numpy().copy()
    library, record = by_albumentations(), {}
    for title, images in (("colour", colored), ("grey", grey)):
        ways = {"augment": partial(ours, images), "kornia": partial(by_kornia(images.shape[1]), images)}
        if library and title == "colour":
            ways["albumentations"] = partial(library, encoded)
        rounds = max(1, COMPARED // chosen.batch)
        made = {name: torch.cat([way().cpu() for _ in range(rounds)]) for name, way in ways.items()}
        record[f"{title}, agreement"] = compare(made)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(chosen.repeats + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                if chosen.device != "cpu":
                    torch.cuda.synchronize()
                rates[name].append(chosen.batch / (time.perf_counter() - start))
        for name, values in rates.items():
            kept = values[1:]  # the first turn warms up
            record[f"{title}, {name}"] = {"images_per_s": statistics.median(kept), "min": min(kept), "max": max(kept)}
    if library is None:
        record["albumentations"] = "not installed"
    record |= {"batch": chosen.batch, "device": chosen.device, "threads": torch.get_num_threads()}
    text = json.dumps(json.loads(json.dumps(record), parse_float=lambda x: round(float(x), 3)), indent=1)
    chosen.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
