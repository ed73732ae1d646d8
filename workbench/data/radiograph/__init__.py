"""Radiographs with findings, several at once, of which some are not known; and images to learn from without labels.

`phantom()` draws chests with five findings; `materials()` draws grey images of materials and `natural()` coloured ones
of the same, for methods that take over what was learnt from colour. `load(root)` reads CheXpert, ChestX-ray14, plain
lists and MedMNIST files, all split by patient where patients are told; `unseen(path, size)` is one image of which
nothing is known. All return `Data` whose batches hold

    image  (B, C, H, W)  in [0, 1]; grey ones have one channel, natural ones three
    label  (B, L)        1 where a finding is there, else 0
    known  (B, L)        1 where that is known, else 0: mask everything that reads `label`

and whose spec names the findings (`labels`, separated by commas). `labelled=60` gives out the labels of 60 training
images, the same for all who ask, and contained in those of `labelled=300`; `part=unlabelled` gives out all training
images without any label, for pre-training. Test images are never among them.
"""

from workbench.data.radiograph.cases import Options, balanced_order, policies
from workbench.data.radiograph.folders import check, load, unseen
from workbench.data.radiograph.materials import materials, natural
from workbench.data.radiograph.phantoms import phantom

__all__ = ["Options", "balanced_order", "check", "load", "materials", "natural", "phantom", "policies", "unseen"]
