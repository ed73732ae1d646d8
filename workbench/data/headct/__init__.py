"""Volumes of heads with one of several classes and, beside it, structures: few of them labelled, many not.

`phantom()` draws asymmetric heads in CT with a haemorrhage of one of four causes; `load(root)` reads BraTS (modalities
as channels), folders of images and label maps, a folder for each class, and 3D files of MedMNIST. All return `Data`
whose batches hold

    image    (B, C, X, Y, Z)  in [0, 1], each channel scaled by its own volume
    class    (B,)             the number of the class; -1 where it is not given out or not known
    label    (B, 1, X, Y, Z)  int16, 0 background, 1 to K structures; -1 everywhere where they are not
    spacing  (B, 3)           mm a voxel; 1 in phantoms
    number   (B,)             a number that belongs to the case: seeds what is drawn for it outside of training

Axes are RAS+: X grows to the patient's right, Y to the front, Z to the head. The spec says what is to be told of a
volume (`task`), names classes and structures, and gives the sides (`grid`) and `channels`. `labelled=16` gives out 16
training volumes with their labels, the same for all who ask, and contained in those of `labelled=32`;
`part=unlabelled` gives out all training volumes without any label, for pre-training. Test volumes are never among them.
"""

from workbench.data.headct.cases import Options, balanced_order
from workbench.data.headct.folders import check, load
from workbench.data.headct.phantoms import phantom

__all__ = ["Options", "balanced_order", "check", "load", "phantom"]
