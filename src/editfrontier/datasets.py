"""The door for data sets of other packages: what `docs/datasets.md` lets them import."""

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.files import ExpectedFile
from editfrontier.data.cases import Case
from editfrontier.data.dataset import DATASETS, Dataset, MaskOptions, Options, Request, dataset_options, get_dataset

__all__ = [
    "DATASETS",
    "Case",
    "Dataset",
    "ExpectedFile",
    "MaskOptions",
    "Options",
    "Request",
    "UserError",
    "dataset_options",
    "get_dataset",
]
