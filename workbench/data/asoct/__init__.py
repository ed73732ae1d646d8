"""Anterior-segment OCT scans: whether the angle on each side is closed, and where its scleral spur lies.

`phantom()` draws scans with decoys brighter than the spur; `load(root)` reads the layout of the AGE challenge. An item
is half a scan: the left `[:, :H]` or the right `[:, -H:]`, mirrored by x -> W - 1 - x so that both look alike, and
scaled to `size`. Both halves of a scan and all scans of a patient stay in one split. Both return `Data` whose batches
hold

    image     (B, 1, H, W)  grey, in [0, 1], the angle on the left
    spur      (B, 2)        x and y of the scleral spur in source pixels of the (mirrored) half; -1 where unknown
    known     (B,)          1 where the spur could be determined, else 0: mask everything that reads `spur`
    closed    (B,)          1 where the angle is closed, else 0
    scale     (B,)          source pixels in a pixel of `image`: source = (grid + 1/2) scale - 1/2
    mirrored  (B,)          1 for a right half
    shuffled  (B,)          train: `closed` dealt anew among the training halves, for a control

`unlabelled(root)` cuts scans without labels, and `write_submission` makes the challenge's two tables:

    scans = asoct.unlabelled("Validation_ASOCT_Image", size=96)
    found = model.predict(scans.halves.__getitems__(range(len(scans.halves))))
    asoct.write_submission("submission", scans.names, scans.widths, found["score"], found["point"])
"""

from workbench.data.asoct.folders import check, load
from workbench.data.asoct.halves import Half, Options, Scan, cut, mirrored
from workbench.data.asoct.phantoms import phantom
from workbench.data.asoct.submission import TABLES, unlabelled, write_submission

__all__ = [
    "TABLES", "Half", "Options", "Scan", "check", "cut", "load", "mirrored", "phantom", "unlabelled",
    "write_submission",
]  # fmt: skip
