"""What a data set is, and the registry of data sets.

A data set is a module of `data/datasets/` with a constant `DATASET` of the class below, or an installed package with an
entry point of the group `editfrontier.datasets`. A task of the config names it; `build.build_task` turns its raw files,
which only their owners may distribute, into cases. This module imports nothing heavy, so that a config can be
checked without loading numpy or pandas; the modules of data sets import such libraries inside their functions.

The data sets of the micro world are rendered instead of read; `microworld.dataset` builds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.files import ExpectedFile, data_folder
from editfrontier.base.params import fill_params
from editfrontier.base.registry import Registry
from editfrontier.data.reading.twins import pixel_hash

if TYPE_CHECKING:
    from editfrontier.data.cases import Case
    from editfrontier.data.framing import Pixels
    from editfrontier.data.language import Language

RENDERED = {
    "portraits": "Attribute edits of portraits",
    "scenes": "Edits of the objects of scenes",
    "sessions": "Turns of editing sessions",
    "drags": "Region drags of the objects of scenes",
    "mask_quality": "Attribute edits of portraits, each with every kind of mask",
    "chains": "Chains of edits of portraits",
    "wordings": "Attribute edits of portraits, each in several wordings",
}
"""Rendered data set (`microworld.dataset.DATASETS`), which is no module of this package -> title."""

SPLITS = ("kind", "size", "attribute")
"""Keys that tables may be split by (`statistics.subsets`)."""

_RENDERED_SPLITS = dict.fromkeys(RENDERED, ("kind", "attribute")) | {"scenes": ("kind",), "drags": ("kind", "size")}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that every data set has; its own `options` class inherits from this one.

    Attributes:
        root: folder of the raw files; "" = the folder `<name>` of the environment variable EDITFRONTIER_DATA, or of
            `data` if that is not set.
        size: height and width of the images of the cases, pixels (the evaluation resolution).
        manifest: file that names the images behind the cases (see `choice.check_manifest`), which must be the same;
            "" = none. `manifest.csv` beside the case table is such a file.
    """

    root: str = ""
    size: int = 256
    manifest: str = ""

    def __post_init__(self) -> None:
        if self.size < 16:
            raise UserError(f"option 'size': {self.size}, expected at least 16 pixels. Correct the value.")


@dataclass(frozen=True, kw_only=True)
class MaskOptions(Options):
    """Options of data sets whose edit masks are drawn by people; `build.build_task` applies them.

    Attributes:
        masks: "human" = the drawn masks; "automatic" = a segmenter's masks in their bounding boxes; "all" = each edit
            once with every mask of `mask_quality`, with the drawn mask as "exact".
        sam: a segmenter of the registry of models (`sam_vit_huge`), or the folder of a SAM or SAM 2 checkpoint in the
            format of transformers; needed for masks that are not "human". With "human" masks it fills the column
            `automatic_mask`.
        sam_device: its device: "cpu", "cuda", or "auto" = a GPU if there is one.
    """

    masks: Literal["human", "automatic", "all"] = "human"
    sam: str = ""
    sam_device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.masks != "human" and not self.sam:
            raise UserError(
                f"option 'masks': {self.masks!r} needs the option 'sam', a model of the registry "
                "or the folder of a checkpoint of SAM. Add it."
            )


@dataclass(frozen=True, kw_only=True)
class Request:
    """A task's request to a data set.

    Attributes:
        task: name of the task, the start of its case ids.
        cases: number of cases, at least 1.
        seed: seed of the data.
        folder: folder of the images (`<role>/<case id>.png`), which the paths of cases are relative to.
        raw: folder of the raw files.
        language: captions and instructions.
        options: an instance of the data set's `options`.
        sources: cluster -> hashes of its sources, which `note_source` fills.
    """

    task: str
    cases: int
    seed: int
    folder: Path
    raw: Path
    language: Language
    options: Any
    sources: dict[str, set[str]] = field(default_factory=dict)

    def note_source(self, cluster: str, pixels: Pixels) -> None:
        """Note a whole source picture, uint8 [H, W, 3], of a cluster, to find twins with another crop; a data set that
        crops all its pictures in the same way need not."""
        self.sources.setdefault(cluster, set()).add(pixel_hash(pixels))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A published data set.

    Attributes:
        name: name of the module.
        title: the authors' title.
        home: address of its page.
        licence: licence of the data in a few words, which every case holds.
        terms: terms that a user agrees to, one or two sentences.
        files: the raw files, by path relative to the folder of raw files.
        by_hand: the steps that only a person can do: accept terms, fill in a form, download by a browser.
        build: (request) -> cases, at most as many as requested, whose images are written. Raises `UserError` if the
            data have no case for the request; `build.build_task` reports fewer cases.
        images: (request) -> names and images uint8 [size, size, 3] without edits, in an order that depends on the seed
            alone, for the reference of FID and KID; None = the data set is no such reference.
        options: frozen dataclass that inherits from `Options` (types as in `params.fill_params`).
        splits: the keys of `SPLITS` that tables of its cases may be split by.
    """

    name: str
    title: str
    home: str
    licence: str
    terms: str
    files: tuple[ExpectedFile, ...]
    by_hand: str
    build: Callable[[Request], list[Case]]
    images: Callable[[Request], Iterator[tuple[str, Pixels]]] | None = None
    options: type = Options
    splits: tuple[str, ...] = SPLITS


def splits_of(name: str) -> tuple[str, ...]:
    """Return the keys that tables of the cases of a data set may be split by."""
    return _RENDERED_SPLITS[name] if name in RENDERED else get_dataset(name).splits


DATASETS = Registry(
    "dataset",
    Dataset,
    "DATASET",
    "editfrontier.data.datasets",
    "editfrontier.datasets",
    reserved=dict.fromkeys(RENDERED, "the micro world renders it, so that it has no raw files. Name another."),
)
"""Data sets of this project and of installed packages, without the rendered ones."""
get_dataset = DATASETS.get


def dataset_options(dataset: Dataset, overrides: Mapping[str, Any]) -> Any:
    """Return the options of a data set with some defaults replaced; raise `UserError` for a wrong one."""
    return fill_params(f"dataset '{dataset.name}'", dataset.options, overrides, "option")


def raw_folder(dataset: Dataset, options: Any = None) -> Path:
    """Return the folder where the raw files of a data set are looked for."""
    return data_folder(dataset.name, options.root if options is not None else "")


def _reference_problems(reference: Mapping[str, Any]) -> Iterator[tuple[list[str], str]]:
    """Yield what is wrong with the keys of the config's `reference`, which the schema cannot say."""
    if "statistics" in reference:
        others = sorted({"dataset", "population", "images", "options"} & set(reference))
        if others:
            yield (
                ["reference", others[0]],
                "images beside `statistics`, which stand in their place. Remove one of them.",
            )
        if "preprocessing" not in reference:
            problem = "missing, expected how the images behind the statistics were resized. Add it."
            yield ["reference", "preprocessing"], problem
        return
    if not {"dataset", "population"} & set(reference):
        yield ["reference"], "names no images, expected the key 'population', 'dataset' or 'statistics'. Add one."
    if "images" not in reference:
        yield ["reference", "images"], "missing, expected a whole number at least 2. Add it."
    if "preprocessing" in reference:
        yield ["reference", "preprocessing"], "is for `statistics`; images are resized by the evaluator. Remove it."


def dataset_problems(config: Mapping[str, Any]) -> Iterator[tuple[list[str], str]]:
    """Yield what is wrong with the data sets that a config names and their options, as (path of the key, problem)."""
    users: list[tuple[list[str], Mapping[str, Any], Mapping[str, str]]]
    users = [(["tasks", name], task, RENDERED) for name, task in config["tasks"].items()]
    yield from _reference_problems(config["reference"])
    if "dataset" in config["reference"]:
        users.append((["reference"], config["reference"], {}))
    for path, entry, rendered in users:
        if entry["dataset"] in rendered:
            continue  # their builders check their options
        if entry["dataset"] not in DATASETS:
            yield [*path, "dataset"], f"'{entry['dataset']}': {DATASETS.unknown(entry['dataset'])}"
            continue
        try:
            dataset = get_dataset(entry["dataset"])
            dataset_options(dataset, entry.get("options", {}))
        except UserError as error:
            yield [*path, "options"], str(error)
            continue
        if not rendered and dataset.images is None:
            yield [*path, "dataset"], f"'{dataset.name}' has no images apart from edits. Name another one."
