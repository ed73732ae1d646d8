"""Colour anatomy: grey image in, colour image out, with a foreground and a background painted black or white.

`phantom()` draws bodies whose organs come in pairs of equal grey and different colour, told apart by texture or by
position; `samples()` cuts blocks from the colour medical images that scikit-image carries; `load(root)` reads a
folder of colour images. All three return `Data` whose batches hold

    image       (B, 1, H, W)  the grey input: Rec. 601 luma of the target, in [0, 1]
    target      (B, 3, H, W)  sRGB, in [0, 1]
    foreground  (B, 1, H, W)  1 inside the body, for scoring
    pseudo      (B, 1, H, W)  the foreground guessed from the colours alone, for training
    white       (B,)          1 where the background was painted white, 0 where black
    region      (B, K)        shares of K tissue or region classes, summing to 1 (ChromaGAN's class term)
"""

from workbench.data.anatomy.folders import check, load
from workbench.data.anatomy.phantoms import phantom
from workbench.data.anatomy.pictures import samples
from workbench.data.anatomy.slices import Options, Slice, fitted

__all__ = ["Options", "Slice", "check", "fitted", "load", "phantom", "samples"]
