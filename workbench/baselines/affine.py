"""Affine: the floor that moves, turns, scales and shears the atlas onto the scan as a whole.

What a dense field gains above identity may be no more than this. Nothing is trained: each scan is registered by
Gauss-Newton steps on the squared grey difference, first on blurred images, with a gain and an offset of the grey values
as further unknowns.

Source: inferred (Lucas and Kanade, 1981, with an affine map).
Known faults: squared differences suffer from a bias field; a step too far is halved, so the search can stay in the
nearest minimum.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import method, metrics
from workbench.config import Count, Natural
from workbench.losses.registration import box, label_map, one_hot
from workbench.method import Batch, Update
from workbench.models.registration import scores
from workbench.models.warp import warp


@dataclass(frozen=True)
class Config(method.Config):
    dims: Literal[2, 3] = 2  # of the images, from the data
    classes: str = "structure"  # names of the label values 1, 2, ..., from the data
    steps: Count = 10  # Gauss-Newton steps at each blur (inferred)
    blur: Natural = 9  # side of the mean filter of the first stage, voxels; 5 and none follow (inferred)


def basis(sides: tuple[int, ...], like: Tensor) -> Tensor:
    """(1 + D, *S) what an affine field is made of: 1 and the coordinates, -1 to 1 along the longest side."""
    reach = max(sides) / 2
    axes = [(torch.arange(side).to(like) - (side - 1) / 2) / reach for side in sides]
    return torch.stack([torch.ones(sides).to(like), *torch.meshgrid(*axes, indexing="ij")])


def affine_flow(theta: Tensor, parts: Tensor) -> Tensor:
    """Field (B, D, *S) in voxels of parameters (B, D, 1 + D)."""
    return torch.einsum("bdp,p...->bd...", theta, parts)


def residuals(moving: Tensor, fixed: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """fixed - gain moved - offset at the best gain and offset, (B, N), and moved (B, N)."""
    moved, fixed = warp(moving, flow).flatten(1), fixed.flatten(1)
    centred, wanted = moved - moved.mean(1, keepdim=True), fixed - fixed.mean(1, keepdim=True)
    gain = (centred * wanted).sum(1, keepdim=True) / centred.square().sum(1, keepdim=True).clamp_min(1e-6)
    return wanted - gain * centred, moved


def gauss_newton(moving: Tensor, fixed: Tensor, theta: Tensor, parts: Tensor) -> Tensor:
    """The parameters (B, D, 1 + D) after one step, half or a quarter of it, whichever leaves least, or as before."""
    dims, sides = theta.shape[1], moving.shape[2:]
    flow = affine_flow(theta, parts)
    rest, moved = residuals(moving, fixed, flow)
    slopes = torch.stack(torch.gradient(moved.view(-1, *sides), dim=tuple(range(1, dims + 1))), 1)  # (B, D, *S)
    jacobian = (slopes[:, :, None] * parts).flatten(1, 2).flatten(2)  # (B, D (1 + D), N)
    extra = torch.stack([moved, torch.ones_like(moved)], 1)
    system = torch.cat([jacobian, extra], 1)
    normal = system @ system.mT
    damping = 1e-4 * normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(normal.shape[1]).to(normal)
    move = torch.linalg.solve(normal + damping, system @ rest[..., None])[:, : jacobian.shape[1], 0].view_as(theta)
    tried = torch.stack([theta + share * move for share in (0.0, 0.25, 0.5, 1.0)])
    left = torch.stack([residuals(moving, fixed, affine_flow(one, parts))[0].square().sum(1) for one in tried])
    return tried[left.argmin(0), torch.arange(len(theta))]


class Affine(method.Method):
    """predict: `mask` (B, 1, *S) of 0 to K and `flow` (B, D, *S) in voxels, an affine one."""

    Config = Config
    data = "anatomy3d"

    def updates(self, batch: Batch) -> Iterator[Update]:
        yield from ()

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        c, atlas, image = self.config, batch["atlas"].float(), batch["image"].float()
        parts = basis(tuple(image.shape[2:]), image)
        theta = torch.zeros(len(image), c.dims, 1 + c.dims, device=image.device)
        for window in (c.blur, 5, 1):
            moving, fixed = (box(one, window) if window > 1 else one for one in (atlas, image))
            for _ in range(c.steps):
                theta = gauss_newton(moving, fixed, theta, parts)
        flow = affine_flow(theta, parts)
        labels = warp(one_hot(batch["atlas_label"], len(metrics.classes(c.classes))), flow)
        return {"mask": label_map(labels), "flow": flow}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, metrics.classes(self.config.classes))
