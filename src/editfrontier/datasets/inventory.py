"""What a data set is, on which terms it is given, which of its raw files are here, and getting the others."""

from __future__ import annotations

from pathlib import Path

from editfrontier.datasets import Dataset, dataset_names, get_dataset
from editfrontier.datasets.downloads import download
from editfrontier.datasets.files import ExpectedFile, data_folder, missing, present
from editfrontier.errors import UserError


def summary() -> str:
    """Return a line for each data set: its name, what is missing of it, and its title."""
    lines = []
    for name in dataset_names():
        dataset = get_dataset(name)
        count = len(missing(data_folder(name), dataset.files))
        state = "here" if not count else f"{count} of {len(dataset.files)} missing"
        lines.append(f"{name:<12} {state:<18} {dataset.title}")
    return "\n".join(lines)


def describe(name: str, root: str = "") -> str:
    """Return what a person should know of a data set, and the state of each raw file; `root` as of the option."""
    dataset = get_dataset(name)
    folder = data_folder(name, root)
    lines = [
        dataset.title,
        f"  home     {dataset.home}",
        f"  licence  {dataset.licence}",
        f"  terms    {dataset.terms}",
        f"  folder   {folder}",
        f"  by hand  {dataset.by_hand}",
    ]
    for file in dataset.files:
        state = "here" if present(folder, file) else "optional" if file.optional else "missing"
        source = f", from {file.archive}" if file.archive else ""
        size = f", {file.size / 1e9:.2f} GB" if file.size else ""
        lines.append(f"  {state:<8} {file.path} ({file.what}{source}{size})")
    return "\n".join(lines)


def fetch_files(name: str, root: str = "") -> list[Path]:
    """Download the raw files of a data set that a program may download and that are not here.

    Returns:
        the files that were downloaded.

    Raises:
        UserError: none of the missing files can be downloaded by a program, or a download failed; the message says what
            to do by hand.
    """
    dataset, folder = get_dataset(name), data_folder(name, root)
    absent = [file for file in dataset.files if not present(folder, file)]
    found = _downloads(absent)
    if absent and not found and missing(folder, dataset.files):
        raise UserError(
            f"dataset '{name}': nothing of it may be downloaded by a program. {dataset.by_hand} Files go to {folder}."
        )
    for file in found:
        _download(dataset, folder, file)
    return [folder / file.download for file in found]


def _downloads(files: list[ExpectedFile]) -> list[ExpectedFile]:
    """Return one file for each archive that can be downloaded."""
    return list({file.download: file for file in reversed(files) if file.url}.values())[::-1]


def _download(dataset: Dataset, folder: Path, file: ExpectedFile) -> None:
    target = folder / file.download
    download(file.url, target, size=file.size, md5=file.md5, sha256=file.sha256, by_hand=dataset.by_hand)
