"""Descriptions of data sets and their terms, the state of their raw files, and the download of missing ones."""

from __future__ import annotations

from pathlib import Path

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.downloads import download
from editfrontier.base.fetching.files import complete, data_folder, missing, present
from editfrontier.data.dataset import DATASETS, RENDERED, Dataset, get_dataset


def summary() -> str:
    """Return a line for each data set: its name, its state and its title; the rendered ones come last."""
    lines = [(name, _state(get_dataset(name)), get_dataset(name).title) for name in DATASETS]
    lines += [(name, "rendered", title) for name, title in RENDERED.items()]
    return "\n".join(f"{name:<12} {state:<18} {title}" for name, state, title in lines)


def _state(dataset: Dataset) -> str:
    folder = data_folder(dataset.name)
    if complete(folder, dataset.files):
        return "here"
    absent, required = missing(folder, dataset.files), [file for file in dataset.files if not file.optional]
    return f"{len(absent)} of {len(required)} missing" if absent else "missing"


def describe(name: str, root: str = "") -> str:
    """Return the description and terms of a data set, and the state of each raw file; `root` as for the option."""
    if name in RENDERED:
        text = "rendered by the micro world: no raw files, nothing to fetch, every case with its true edit"
        return f"{RENDERED[name]}\n  licence  CC0-1.0\n  origin   {text} (docs/microworld.md)"
    dataset = get_dataset(name)
    folder = data_folder(name, root)
    lines = [
        dataset.title,
        *([f"  home     {dataset.home}"] if dataset.home else []),
        f"  licence  {dataset.licence}",
        f"  terms    {dataset.terms}",
        f"  folder   {folder}{_absence(folder)}",
        f"  by hand  {dataset.by_hand}",
    ]
    for file in dataset.files:
        state = "here" if present(folder, file) else "optional" if file.optional else "missing"
        source = f", from {file.archive}" if file.archive else ""
        size = f", {file.size / 1e9:.2f} GB" if file.size else ""
        lines.append(f"  {state:<8} {file.path} ({file.what}{source}{size})")
    return "\n".join(lines)


def _absence(folder: Path) -> str:
    if not folder.is_dir():
        return " (does not exist)"
    return "" if any(folder.iterdir()) else " (is empty)"


def fetch_files(name: str, root: str = "") -> list[Path]:
    """Download the missing raw files of a data set that a program may download; return their paths.

    Raises:
        UserError: a program may download none of the missing files, or a download failed; the message says what to do
            by hand.
    """
    dataset, folder = get_dataset(name), data_folder(name, root)
    absent = [file for file in dataset.files if not present(folder, file)]
    downloads = {file.download: file for file in absent if file.url}  # files of one archive have one download
    if absent and not downloads and not complete(folder, dataset.files):
        raise UserError(
            f"dataset '{name}': nothing of it may be downloaded by a program. {dataset.by_hand} Files go to {folder}."
        )
    for target, file in downloads.items():
        checks = {"size": file.size, "md5": file.md5, "sha256": file.sha256}
        download(file.url, folder / target, **checks, by_hand=dataset.by_hand)  # type: ignore[arg-type]
    return [folder / target for target in downloads]
