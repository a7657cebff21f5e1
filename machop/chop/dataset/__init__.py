"""Data sets: the bundled ones and the user's own."""

from chop.dataset.data_module import MaseDataModule, get_dataset_info
from chop.dataset.info import DATASETS, DatasetInfo

__all__ = ["DATASETS", "DatasetInfo", "MaseDataModule", "get_dataset_info"]
