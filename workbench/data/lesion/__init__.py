"""Skin lesions by class: a phantom whose classes are known to be alike in pairs, and dermatoscopy of one's own.

`phantom()` draws eight classes in four pairs; `load(root)` reads ISIC 2018 Task 3 and HAM10000 with their lesion
groupings, any table `image,label[,lesion_id]`, a folder for each class, and .npz files of MedMNIST. All images of a
lesion stay in one split; `unseen(path, size)` is one image as they have it. Both return `Data` whose batches hold

    image   (B, 3, H, W)  sRGB in [0, 1]
    class   (B,)          int64, the number of the class

The spec names the classes, in the order of their numbers, and gives the known similarity of each to each as rows; it
is empty where it is not known. The table says in `diagnosis` which class an image has.
"""

from workbench.data.lesion.cases import CLASSES, PAIRS, SIMILARITY, Image, Options, assembled, shares
from workbench.data.lesion.folders import check, load, photographs, unseen
from workbench.data.lesion.phantoms import phantom

__all__ = [
    "CLASSES", "PAIRS", "SIMILARITY", "Image", "Options", "assembled", "check", "load", "phantom", "photographs",
    "shares", "unseen",
]  # fmt: skip
