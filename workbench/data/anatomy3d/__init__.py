"""One labelled atlas and many unlabelled subjects: slices or volumes of one anatomy, for one-shot segmentation.

`phantom()` draws brains that are smooth deformations of one another, with the true map between them; `load(root)` reads
a folder of NIfTI pairs, Neurite-OASIS or CANDI. Both return `Data` whose batches hold, with S the D sides (H, W) or
(X, Y, Z),

    image        (B, 1, *S)  the subject, in [0, 1]
    label        (B, 1, *S)  int16, 0 background, 1 to K structures; -1 everywhere where a training subject has none
    atlas        (B, 1, *S)  the atlas's image: the same for every item, held once
    atlas_label  (B, 1, *S)  int16, its structures
    spacing      (B, D)      mm a voxel along each axis of S; 1 in phantoms
    flow         (B, D, *S)  test items of phantoms only: the true map D in voxels, subject(x) = atlas(x + D(x))

Volumes lie on RAS+ axes: X grows to the patient's right, Y to the front, Z to the head. In slices rows go down from the
head or the front, columns to the patient's right (to the front in a sagittal slice).
"""

from workbench.data.anatomy3d.folders import check, load
from workbench.data.anatomy3d.phantoms import phantom
from workbench.data.anatomy3d.subjects import Options

__all__ = ["Options", "check", "load", "phantom"]
