"""A small residual network for patches of two or three dimensions."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, halving the sides: (B, I, *S) -> (B, O, *S / 2)."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = CONV[dims](inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.second = CONV[dims](outputs, outputs, 3, padding=1, bias=False)
        self.short = CONV[dims](inputs, outputs, 1, stride=2, bias=False)
        self.norms = nn.ModuleList(NORM[dims](outputs) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + self.norms[2](self.short(x)))


class ResNet(nn.Module):
    """Images (B, C, *S) -> features (B, widths[-1]): a convolution, a block that halves the sides a width, the mean.

    Source: He et al., arXiv 1512.03385, with one block a stage.
    """

    def __init__(self, dims: int, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            CONV[dims](channels, widths[0], 3, padding=1, bias=False), NORM[dims](widths[0]), nn.ReLU()
        )
        inputs = [widths[0], *widths[:-1]]
        self.stages = nn.Sequential(*(ResidualBlock(dims, i, o) for i, o in zip(inputs, widths, strict=True)))

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x)).flatten(2).mean(2)
