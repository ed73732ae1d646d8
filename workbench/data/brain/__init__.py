"""Brains in four MR modalities with tumours: T2 in; FLAIR, T1ce and T1 out; a tumour mask beside them.

`phantom()` draws slices whose tumours T2 tells from cysts by their outline alone; `load(root)` reads cases of four
volumes and a mask, in the layout of BraTS 2018 or under plain names. Both return `Data` whose batches hold

    image       (B, 1, H, W)  T2, in [0, 1]
    target      (B, 3, H, W)  FLAIR, T1ce and T1 as three channels, in [0, 1]
    label       (B, 1, H, W)  int16: 1 in the tumour, oedema and core together, 0 elsewhere
    foreground  (B, 1, H, W)  int16: 1 in the brain, inside of the skull
    spacing     (B, 2)        mm a pixel along H and W; 1 in phantoms
    seg_image, seg_target, seg_label
                              train: a slice of the segmentation split, whose cases are in no other split

The table's `background` says `tumour` or `healthy` of each slice, so that tables can tell them apart.
"""

from workbench.data.brain.folders import check, load
from workbench.data.brain.phantoms import phantom
from workbench.data.brain.slices import MODALITIES, Options, Slice
from workbench.data.brain.volumes import t2_files, unseen

__all__ = ["MODALITIES", "Options", "Slice", "check", "load", "phantom", "t2_files", "unseen"]
