"""Endoscopic videos of two centres that differ in colour and light: polyps, with labels at the one centre only.

`phantom()` draws clips with true motion, each video with a look of its own; `load(root)` reads CVC-ClinicDB,
ETIS-Larib, CamVid, folders of frames and video files. Both return `Data` whose items each have a clip of the centre
that is to be translated and one of the target centre, where the segmentor is at home. Two frames of an item's clip are
always of one video; `stranger` is there for the control that mixes videos.

    image         (B, 3, T, H, W)     sRGB in [0, 1]: the clip to be translated
    label         (B, 1, T, H, W)     int16, 0 none, 1 polyp, -1 unknown; of valid all unknown; train: for the oracle
    length        (B,)                frames of the clip; those after repeat the last one
    flow          (B, 2, T-1, H, W)   valid, test: motion in pixels, frame t + 1 at x is frame t at x + flow
    spacing       (B, 3)              1: distances are in frames and pixels
    target        (B, 3, T, H, W)     a clip of the target centre, with `target_label` and `target_length`
    stranger      (B, 3, T, H, W)     a clip of the translated centre from another video, with `stranger_length`;
                                      `target_stranger` is the same for the target centre
    palette       (B, 3, 256)         share of every 8-bit intensity in the target centre's training clips
    tone          (B, 2, 3)           mean and standard deviation of their CIELAB L*, a*, b*

In an epoch every clip of the one centre meets every clip of the other.
"""

from workbench.data.endoscopy.clips import Options
from workbench.data.endoscopy.folders import check, films, load, unseen
from workbench.data.endoscopy.phantoms import phantom

__all__ = ["Options", "check", "films", "load", "phantom", "unseen"]
