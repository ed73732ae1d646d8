"""Organs and lesions in single slices: grey image in, binary mask out.

`phantom()` draws blobs that only the bands around them tell apart; `load(root)` reads a folder of image and mask
pairs, pictures or NIfTI volumes cut into slices, and the layouts of KiTS19 and ACDC. Both return `Data` whose batches
hold

    image    (B, 1, H, W)  grey, in [0, 1]
    label    (B, 1, H, W)  int16: 1 inside the organ, 0 elsewhere
    spacing  (B, 2)        mm a pixel along H and W; 1 where the file does not say
"""

from workbench.data.organs.folders import check, load
from workbench.data.organs.phantoms import phantom
from workbench.data.organs.slices import Options, Slice

__all__ = ["Options", "Slice", "check", "load", "phantom"]
