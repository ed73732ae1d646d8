"""Fundus photographs of two cameras: the optic disc and its cup, with labels that are partly wrong.

`phantom()` draws eyes as two cameras show them; `load(root)` reads REFUGE, Drishti-GS and ready crops. Both return
`Data` whose training items are labelled images of the source camera, each with one unlabelled image of the target
camera. Validation stays with the source and its corrupted labels, so that no target label is used before the test.

    image    (B, 3, H, W)  sRGB in [0, 1]: source camera in train and valid, target camera in test
    label    (B, 1, H, W)  int16, 0 retina, 1 rim, 2 cup (the disc is both): corrupted in train and valid, true in test
    spacing  (B, 2)        1: distances are in pixels of the region
    target   (B, 3, H, W)  train: an image of the target camera, in turn
    clean    (B, 1, H, W)  train, valid: the true label, for reference arms and for judging a selection
    noisy    (B,)          train, valid: 1 where the label was corrupted, else 0; for judging alone

The table of train and valid says in `corruption` what was done to each label.
"""

from workbench.data.fundus.corruption import corrupt
from workbench.data.fundus.folders import check, load
from workbench.data.fundus.phantoms import phantom
from workbench.data.fundus.rois import LABELS, Options, relabelled

__all__ = ["LABELS", "Options", "check", "corrupt", "load", "phantom", "relabelled"]
