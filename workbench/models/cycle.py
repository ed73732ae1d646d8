"""Two generators that undo one another, each against a critic of its own side: what translators of frames share."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.losses.adversarial import critic_loss, full, generator_loss
from workbench.models.colorizer import PatchCritic, Residual, block

BORDER = "reflect"  # of all generators' convolutions (CycleGAN's code); with zeros they learn to spare the margin


class Kept(nn.Module):
    """Images (N, C, H, W) that outlive a step; N is 0 at first.

    They are extra state, not a buffer: checkpoints hold them, so that a resumed run goes on with the same ones, but
    averages and the published weights, which take tensors only, do not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.images = torch.empty(0)

    def get_extra_state(self) -> dict[str, Tensor]:
        return {"images": self.images}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        self.images = state["images"].clone()


class Pool(Kept):
    """Generated images of earlier steps (arXiv 1612.07828, 2.3)."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity

    def exchange(self, images: Tensor, draws: Tensor) -> Tensor:
        """For each new image (B, C, H, W): itself or, with probability 1/2, an older one whose place it takes.

        Until the pool is full, new images are kept and returned. `draws` (B, 2), uniform in [0, 1), say whether and
        which.
        """
        shown = []
        for image, (whether, which) in zip(images.detach().float(), draws.tolist(), strict=True):
            if len(self.images) < self.capacity:
                kept = self.images.to(image).reshape(-1, *image.shape)
                self.images = torch.cat([kept, image[None]])
            elif whether < 0.5 and self.capacity > 0:
                place = int(which * self.capacity)
                old, self.images[place] = self.images[place].clone(), image
                image = old
            shown.append(image)
        return torch.stack(shown)


def distance(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference, a scalar, of images in [0, 1] measured in [-1, 1] as the paper's weights expect."""
    return F.l1_loss(2 * image.float(), 2 * target.float())


def recolored(image: Tensor, change: Tensor) -> Tensor:
    """(tanh(exp(tanh g) atanh(2 x - 1) + s) + 1) / 2: images (N, 3, H, W) in [0, 1] of other contrast and brightness.

    `change` (N, 6, H, W) are g and s of each channel. A generator that starts near the identity, and recolours what is
    there, need not learn to draw (inferred); casts and gammas are nearly of this form.
    """
    own = torch.atanh(0.99 * (2 * full(image) - 1))  # finite for black and white
    gain, shift = full(change).chunk(2, 1)
    return (torch.tanh(gain.tanh().exp() * own + shift) + 1) / 2


def residuals(base: int, count: int) -> list[nn.Module]:
    """Residual blocks for features (N, 4 base, h, w)."""
    return [Residual(4 * base, BORDER) for _ in range(count)]


def encoder(base: int, blocks: int) -> nn.Sequential:
    """Frames (N, 3, H, W) in [-1, 1] -> features (N, 4 base, H/4, W/4), by two strides and some residual blocks.

    Only the residual blocks are normalised, as a norm on the first layers would take a colour cast away (inferred).
    """
    layers = [
        block(3, base, 7, 1, BORDER),
        block(base, 2 * base, 3, 2, BORDER),
        block(2 * base, 4 * base, 3, 2, BORDER),
    ]
    return nn.Sequential(*layers, *residuals(base, blocks))


def decoder(base: int, outputs: int = 6) -> nn.Sequential:
    """Features (N, 4 base, h, w) -> (N, outputs, 4h, 4w), by two upsamplings.

    There are no skips from the encoder: given them, training closes the way through the centre within a hundred steps.
    """
    up = [(nn.Upsample(scale_factor=2), block(2 * wide, wide, 3, 1, BORDER)) for wide in (2 * base, base)]
    return nn.Sequential(*up[0], *up[1], nn.Conv2d(base, outputs, 7, padding=3, padding_mode=BORDER))


def awake(net: nn.Module, last: nn.Module) -> None:
    """He's initial weights for all convolutions (arXiv 1502.01852), a tenth of them for the last.

    The usual ones shrink a signal in every layer, so that the innermost ones, where the two frames of an X meet, would
    have little say.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    with torch.no_grad():
        last.weight.mul_(0.1)


class Framewise(nn.Module):
    """The one-frame generator: frames (B, n, 3, H, W) in [0, 1] -> (B, n, 3, H, W), each on its own; see `recolored`.

    H and W are multiples of 4.
    """

    def __init__(self, base: int, blocks: int) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(base, blocks), decoder(base)
        awake(self, self.decoder[-1])

    def forward(self, frames: Tensor) -> Tensor:
        single = frames.flatten(0, 1)
        return recolored(single, self.decoder(self.encoder(2 * single - 1))).view_as(frames)


class Cycle(nn.Module):
    """Generators `forth` (to the target) and `back`, with a critic and a pool of older frames for each side.

    Frames are (B, n, 3, H, W) in [0, 1]; critics judge each on its own. As in the card of VideoGAN every term is a sum
    over the n frames of a video.
    """

    def __init__(self, forth: nn.Module, back: nn.Module, base: int, depth: int, norm: bool, pool: int) -> None:
        super().__init__()
        self.forth, self.back = forth, back
        self.critic_target, self.critic_image = (PatchCritic(3, base, depth, norm) for _ in range(2))
        self.pool_target, self.pool_image = Pool(pool), Pool(pool)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Of its networks, as it has no forward of its own."""
        for part in (self.forth, self.back, self.critic_target, self.critic_image):
            part.compile(*args, **kwargs)

    def generators(self) -> list[nn.Parameter]:
        return [*self.forth.parameters(), *self.back.parameters()]

    def critic(self, side: str) -> nn.Module:
        return getattr(self, f"critic_{side}")

    def made(self, image: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The translations by the side on which they are to pass: `target` from the image, `image` from the target."""
        return {"target": self.forth(image), "image": self.back(target)}

    def terms(self, real: dict[str, Tensor], made: dict[str, Tensor], cycle: float, identity: float) -> dict:
        """What both generators minimise, by name, scalars: `adv`, `cycle` and, where its weight is above 0, `identity`.

        Args:
            real, made: real and translated frames by side.
            cycle, identity: weights of the L1 errors of the round trips, and of what is already on the right side.
        """
        count = real["image"].shape[1]
        judged = [generator_loss(self.critic(side)(made[side].flatten(0, 1)), "lsgan") for side in made]
        trips = distance(self.back(made["target"]), real["image"]) + distance(self.forth(made["image"]), real["target"])
        terms = {"adv": count * sum(judged), "cycle": count * cycle * trips}
        if identity > 0:
            same = distance(self.forth(real["target"]), real["target"])
            same = same + distance(self.back(real["image"]), real["image"])
            terms["identity"] = count * identity * same
        return terms

    def critic_term(self, side: str, real: Tensor, made: Tensor, draws: Tensor) -> Tensor:
        """What the critic of one side minimises, a scalar, on real frames and on made ones through its pool.

        `draws` (B, 2n), uniform in [0, 1).
        """
        old = getattr(self, f"pool_{side}").exchange(made.flatten(0, 1), draws.reshape(-1, 2))
        scores = [self.critic(side)(frames) for frames in (real.flatten(0, 1), old)]
        return critic_loss(*scores, "lsgan")
