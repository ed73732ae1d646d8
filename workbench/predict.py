"""A trained method applied to files of one's own: colours, masks, modalities, videos, tables, alerts."""

import dataclasses
import functools
import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from PIL import Image
from torch.nn import functional as F
from tqdm.auto import tqdm

from workbench import data, device, method, runs
from workbench.config import Config, split
from workbench.data import asoct, brain, endoscopy, io, lesion, neuron, radiograph
from workbench.data.anatomy import fitted
from workbench.data.io.kind import stem
from workbench.errors import InvalidImage, InvalidParameter
from workbench.runs import Run

Aside = list[tuple[str, str]]
Maker = Callable[[method.Method, np.ndarray, int], Image.Image]  # a page of a file and the size to work at


def load(run: Run) -> method.Method:
    """The trained method of a run, in evaluation mode, on the best device.

    Raises:
        InvalidRun: an unfinished run, or weights that do not belong to it.
    """
    from safetensors.torch import load_file

    if run.state != "done":
        raise runs.InvalidRun(run.path, "a finished run", run.state, "run it again: it resumes")
    cls = method.method_class(run.config["method"])
    (settings,) = split(run.config["config"], cls.Config)
    model = cls(cls.Config(**settings))
    try:
        weights = load_file(run.path / "weights.safetensors")
        wanted = {key for key, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
        if weights.keys() != wanted:
            raise KeyError(*sorted(weights.keys() ^ wanted)[:3])
        model.load_state_dict(weights, strict=False)  # what is no tensor, such as a pool of images, is not kept
    except Exception as error:  # safetensors and torch raise several kinds for damaged or foreign weights
        found = f"others ({type(error).__name__})"
        raise runs.InvalidRun(run.path / "weights.safetensors", "the run's weights", found, "run it again") from error
    return model.eval().to(device.find_device())


# grey for the background, then colours that colour-blind readers tell apart, for the label values 1, 2, ...
PALETTE = [40, 40, 40, 230, 159, 0, 86, 180, 233, 0, 158, 115, 240, 228, 66, 0, 114, 178, 213, 94, 0, 204, 121, 167]


def apply(
    run: Run, source: Path, target: Path, *, overwrite: bool = False, settings: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write to `target` what a run makes of an image or every file of a folder; files that cannot be read are named.

    The method sees the images as it was trained to. Colours and masks become PNG files of the same names, half scans
    of an eye the two tables of the AGE challenge, traces in `traces/` beside stacks in `images/` SWC files with their
    alerts, each with a table; T2 volumes their synthetic modalities and the tumour as NIfTI files; videos a folder each
    of translated frames and of masks; radiographs one table with the probability of each finding, and the colours that
    a method learnt to see them in; images of lesions one table with the probability of each class. `settings` replace
    options of the run's data, such as the spacing of stacks.

    Raises:
        InvalidRun, InvalidImage: as they say; InvalidParameter: results are there already, an unknown setting, or the
            run needs more than what is in such files.
    """
    told = run.config.get("data", {})
    kind = told.get("kind", "")
    if kind not in KINDS:
        found = f"{run.config['method']}, which is trained on {kind}"
        raise InvalidParameter("run", f"a method for {', '.join(KINDS)}", found, "choose another run")
    group = data.module(kind).Options
    known = {field.name: told[field.name] for field in dataclasses.fields(group) if field.name in told}
    options = group(**split(known | dict(settings or {}), group)[0])
    written, aside = KINDS[kind](load(run), options, source, target, overwrite)
    for name, reason in aside:
        print(f"set aside: {name}: {reason}")
    print(f"{len(written)} files in {target}")
    return written


def pictures(
    made: Maker, model: method.Method, options: Config, source: Path, target: Path, overwrite: bool
) -> tuple[list[Path], Aside]:
    """A PNG file for every page of every image. Chroma is enlarged and laid on the image's own lightness, so no detail
    is lost; of masks the nearest pixel is taken, and label values become palette indices with a colour each."""
    names = result_names(io.list_images(source), source if source.is_dir() else source.parent)
    prepare(target, [f"{name}{end}.png" for name in names.values() for end in ("", "_0000")], overwrite)
    written: list[Path] = []
    bar, size = tqdm(names, desc="predict", unit="image", disable=None), options.size
    _, aside = io.read_many(bar, lambda path: written.extend(results(made, model, size, path, target / names[path])))
    return written, aside


@torch.inference_mode()
def tables(
    model: method.Method, options: Config, source: Path, target: Path, overwrite: bool
) -> tuple[list[Path], Aside]:
    """Angle and spur of both sides of every scan, as the two tables that the AGE challenge asks for."""
    prepare(target, asoct.TABLES, overwrite)
    scans, parts = asoct.unlabelled(source, options.size), []
    for items in torch.arange(len(scans.halves)).split(16):
        batch = {key: value.to(model.device) for key, value in scans.halves.__getitems__(items.tolist()).items()}
        parts.append([asked(model, batch, key).float().cpu() for key in ("score", "point")])
    score, point = map(torch.cat, zip(*parts, strict=True))
    threshold = min(max(float(model.threshold), 1e-6), 1 - 1e-6)  # the tables' 0 must lie inside
    written = asoct.write_submission(target, scans.names, scans.widths, score, point, threshold)
    return list(written), list(scans.aside)


@torch.inference_mode()
def alerts(
    model: method.Method, options: Config, source: Path, target: Path, overwrite: bool
) -> tuple[list[Path], Aside]:
    """Every trace of a folder with its alerts as SWC, and beside it a table of the alerted nodes."""
    found, aside = neuron.entries(source)
    named = {entry.trace or entry.gold: entry for entry in found}
    prepare(target, [f"{entry.name}{end}" for entry in found for end in (".swc", ".csv")], overwrite)

    def reviewed(trace: Path) -> Path:
        batch, tree, near = neuron.unjudged(named[trace].image, trace, options)
        batch = {key: value.to(model.device) for key, value in batch.items()}
        score, alert = (asked(model, batch, key)[0, 0].float().cpu().numpy()[near] for key in ("score", "mask"))
        path = target / f"{named[trace].name}.swc"
        neuron.write_alerts(path, tree, score, alert > 0)
        return path

    made, bad = io.read_many(tqdm(named, desc="predict", unit="trace", disable=None), reviewed)
    return [path.with_suffix(end) for path in made for end in (".swc", ".csv")], [*aside.items(), *bad]


@torch.inference_mode()
def modalities(
    model: method.Method, options: Config, source: Path, target: Path, overwrite: bool
) -> tuple[list[Path], Aside]:
    """FLAIR, T1ce and T1 in [0, 1] of every T2 volume, and the tumour found in them, on the voxels of the volume."""
    files = brain.t2_files(source)
    names = result_names(files, source if source.is_dir() else source.parent)
    kinds = (*brain.MODALITIES[1:], "tumour")
    prepare(target, [f"{name}_{kind}.nii.gz" for name in names.values() for kind in kinds], overwrite)

    def synthesised(path: Path) -> list[Path]:
        t2 = brain.unseen(path, options)
        batches = torch.from_numpy(t2.squares).split(16)
        parts = [
            [one.float().cpu() for one in asked_all(model, {"image": some}, ("color", "mask"))] for some in batches
        ]
        color, mask = (torch.cat(one).numpy() for one in zip(*parts, strict=True))
        made = [t2.whole(color[:, n]) for n in range(color.shape[1])] + [t2.whole(mask[:, 0]) > 0.5]
        written = [target / f"{names[path]}_{kind}.nii.gz" for kind in kinds]
        for file, array in zip(written, made, strict=True):
            image = nibabel.Nifti1Image(array.astype(np.uint8 if array.dtype == bool else np.float32), t2.volume.affine)
            runs.save(file, lambda stream, image=image: stream.write(gzip.compress(image.to_bytes())))
        return written

    made, aside = io.read_many(tqdm(files, desc="predict", unit="volume", disable=None), synthesised)
    return [path for written in made for path in written], aside


@torch.inference_mode()
def probabilities(
    model: method.Method, options: Config, source: Path, target: Path, overwrite: bool
) -> tuple[list[Path], Aside]:
    """The likeliest class of every image and the probability of each, as one table, a row an image."""
    path, classes = target / "probabilities.csv", model.config.classes.split(",")
    names = result_names(lesion.photographs(source), source if source.is_dir() else source.parent)
    prepare(target, [path.name], overwrite)

    def judged(file: Path) -> list[str | float]:
        image = lesion.unseen(file, options.size)[None]
        likely = asked(model, {"image": image}, "probability")[0].tolist()
        return [names[file], classes[likely.index(max(likely))], *likely]

    rows, aside = io.read_many(tqdm(names, desc="predict", unit="image", disable=None), judged)
    table = pd.DataFrame(rows, columns=["image", "class", *classes])
    runs.save(path, lambda file: table.to_csv(file, index=False, float_format="%.6f", lineterminator="\n"))
    return [path], aside


@torch.inference_mode()
def translations(
    model: method.Method, options: Config, source: Path, target: Path, overwrite: bool
) -> tuple[list[Path], Aside]:
    """Every video at the target centre: its frames, each with the mask that the segmentor finds, in a folder a video.

    What the method changes is enlarged and added to the frames, which keep their detail.
    """
    films = {film.name: film for film in endoscopy.films(source)}
    prepare(target, films, overwrite)

    def translated(path: Path) -> list[Path]:
        name = path.as_posix()
        frames, squares = endoscopy.unseen(films[name], options)
        video = torch.from_numpy(squares).movedim(-1, 0)[None].float().div(255)
        batch = {"image": video, "length": torch.tensor([len(frames)])}
        color, mask = (one[0].float().cpu().movedim(0, 1) for one in asked_all(model, batch, ("color", "mask")))
        shape, written = frames.shape[1:3], []
        (target / name).mkdir(parents=True, exist_ok=True)
        for n, frame in enumerate(frames):
            change = F.interpolate(color[n : n + 1] - video[0, :, n][None], shape, mode="bilinear", antialias=True)
            shown = 255 * (torch.from_numpy(frame).float() / 255 + change[0].movedim(0, -1)).clamp(0, 1)
            found = F.interpolate(mask[n : n + 1], shape, mode="nearest-exact")[0, 0].to(torch.uint8).numpy()
            label = Image.fromarray(found, mode="P")
            label.putpalette(PALETTE)
            for end, picture in (("", Image.fromarray(shown.round().byte().numpy())), ("_mask", label)):
                written.append(target / name / f"{n:05d}{end}.png")
                runs.save(written[-1], lambda file, picture=picture: picture.save(file, format="PNG"))
        return written

    made, aside = io.read_many(tqdm(films, desc="predict", unit="video", disable=None), translated)
    return [path for written in made for path in written], aside


@torch.inference_mode()
def findings(
    model: method.Method, options: Config, source: Path, target: Path, overwrite: bool
) -> tuple[list[Path], Aside]:
    """The probability of each finding in every radiograph, as one table, a row an image; and where the method makes
    colours of it, a PNG file of the radiograph's size, whose darkest and brightest value are 0 and 255."""
    names = result_names(io.list_images(source), source if source.is_dir() else source.parent)
    prepare(target, ["probabilities.csv", *(f"{name}.png" for name in names.values())], overwrite)
    written = [target / "probabilities.csv"]

    def judged(path: Path) -> list[str | float]:
        image, (height, width) = radiograph.unseen(path, options.size)
        prediction = answered(model, {"image": image[None].to(model.device)})
        (score,) = chosen(prediction, ("score",))
        if "color" in prediction:
            color = (prediction["color"][0].float().cpu() * 255).round().byte().movedim(0, -1)
            picture = Image.fromarray(color.numpy()).resize((width, height), Image.Resampling.BILINEAR)
            written.append(target / f"{names[path]}.png")
            runs.save(written[-1], lambda file: picture.save(file, format="PNG"))
        return [names[path], *score[0].tolist()]

    rows, aside = io.read_many(tqdm(names, desc="predict", unit="image", disable=None), judged)
    table = pd.DataFrame(rows, columns=["image", *model.config.labels.split(",")])
    runs.save(written[0], lambda file: table.to_csv(file, index=False, float_format="%.6f", lineterminator="\n"))
    return written, aside


def result_names(paths: Iterable[Path], base: Path) -> dict[Path, str]:
    """The name of each result without .png: sub-folders and stem, with the extension where two would be alike.

    Raises:
        InvalidImage: two that are alike even so, such as `a/b.png` and `a_b.png`.
    """
    whole = {path: "_".join(path.relative_to(base).parts) for path in paths}
    short = {path: name.removesuffix(path.name) + stem(path) for path, name in whole.items()}
    counts = Counter(short.values())
    names = {path: name if counts[name] == 1 else whole[path] for path, name in short.items()}
    double = [name for name, count in Counter(names.values()).items() if count > 1]
    if double:
        raise InvalidImage(double[0], "one image for each result", "several", "rename one of them")
    return names


def prepare(target: Path, names: Iterable[str], overwrite: bool) -> None:
    """Make the folder, and see that it holds no result that would be replaced unasked."""
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidParameter(str(target), "a folder", error.strerror, "choose another") from error
    there = [name for name in names if (target / name).exists()]
    if there and not overwrite:
        found = f"{there[0]} and {len(there) - 1} more" if len(there) > 1 else there[0]
        raise InvalidParameter(str(target), "no results of these names", found, "choose another folder or --overwrite")


def results(made: Maker, model: method.Method, size: int, path: Path, target: Path) -> Iterator[Path]:
    """Write what is made of every page of a file."""
    pages = io.read_pages(path)
    for number, page in enumerate(pages):
        picture = made(model, page, size)
        file_name = target.with_name(f"{target.name}.png" if len(pages) == 1 else f"{target.name}_{number:04d}.png")
        runs.save(file_name, lambda file, picture=picture: picture.save(file, format="PNG"))
        yield file_name


def grey(page: np.ndarray) -> np.ndarray:
    return page if page.ndim == 2 else page @ np.array([0.299, 0.587, 0.114], np.float32)


def colorized(model: method.Method, page: np.ndarray, size: int) -> Image.Image:
    return Image.fromarray((enlarged(model, grey(page), size) * 255).round().astype(np.uint8))


def segmented(model: method.Method, page: np.ndarray, size: int) -> Image.Image:
    """A palette image of label values, of the size of the page; a grey page serves a method for colours too."""
    channels = getattr(model.config, "channels", 1)
    shown = grey(page)[..., None] if channels == 1 else np.broadcast_to(np.atleast_3d(page), (*page.shape[:2], 3))
    picture = Image.fromarray(labelled(model, shown, size), mode="P")
    picture.putpalette(PALETTE)
    return picture


def asked(model: method.Method, batch: method.Batch, key: str) -> torch.Tensor:
    return asked_all(model, batch, (key,))[0]


def asked_all(model: method.Method, batch: method.Batch, keys: Iterable[str]) -> list[torch.Tensor]:
    """What a method predicts under these keys; raises as `answered` and `chosen`."""
    return chosen(answered(model, batch), keys)


def answered(model: method.Method, batch: method.Batch) -> dict[str, torch.Tensor]:
    """All that a method predicts.

    Raises:
        InvalidParameter: it needs more than such files hold.
    """
    try:
        return model.predict({key: value.to(model.device) for key, value in batch.items()})
    except KeyError as error:
        expected, found = f"a method that needs no more than {', '.join(batch)}", f"one that needs {error.args[0]}"
        raise InvalidParameter("run", expected, found, "choose another run") from None


def chosen(prediction: Mapping[str, torch.Tensor], keys: Iterable[str]) -> list[torch.Tensor]:
    """What a prediction holds under these keys.

    Raises:
        InvalidParameter: the method predicts no such thing.
    """
    if missing := [key for key in keys if key not in prediction]:
        expected = f"a method that predicts {' and '.join(missing)}"
        raise InvalidParameter("run", expected, ", ".join(prediction), "choose another run")
    return [prediction[key] for key in keys]


@torch.inference_mode()
def labelled(model: method.Method, page: np.ndarray, size: int) -> np.ndarray:
    """(H, W, C) in [0, 1] -> predicted label values (H, W) uint8 at full size."""
    small, (top, left, height, width) = fitted(page, size)
    mask = asked(model, {"image": torch.from_numpy(small).permute(2, 0, 1)[None].to(model.device)}, "mask")
    inner = mask[..., top : top + height, left : left + width].float().cpu()
    return F.interpolate(inner, page.shape[:2], mode="nearest-exact")[0, 0].round().to(torch.uint8).numpy()


@torch.inference_mode()
def enlarged(model: method.Method, grey: np.ndarray, size: int) -> np.ndarray:
    """(H, W) grey in [0, 1] -> (H, W, 3) sRGB: predicted chroma at full size on the lightness of the input."""
    height, width = grey.shape
    small, (top, left, inner_height, inner_width) = fitted(grey[..., None], size)
    batch = {"image": torch.from_numpy(small).permute(2, 0, 1)[None].to(model.device)}
    lab = rgb_to_lab(asked(model, batch, "color").float().cpu())
    lab = lab[..., top : top + inner_height, left : left + inner_width]
    chroma = F.interpolate(lab[:, 1:], (height, width), mode="bilinear", align_corners=False)
    light = rgb_to_lab(torch.from_numpy(np.ascontiguousarray(grey)).expand(1, 3, height, width))[:, :1]
    if not torch.isfinite(chroma).all():
        raise InvalidImage("prediction", "finite colours", "NaN", "train the run again")
    return lab_to_rgb(torch.cat([light, chroma], 1)).clamp(0, 1)[0].permute(1, 2, 0).numpy()


KINDS = {  # what is made, by the kind of data
    "anatomy": functools.partial(pictures, colorized), "fundus": functools.partial(pictures, segmented),
    "organs": functools.partial(pictures, segmented), "asoct": tables, "neuron": alerts, "brain": modalities,
    "endoscopy": translations, "radiograph": findings, "lesion": probabilities,
}  # fmt: skip
