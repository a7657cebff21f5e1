"""Reads a loader of the user's data once and brings every batch into one form."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Subset
from torch.utils.data.sampler import RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler

from chop.dataset.rows import Batch, form_of, join, take
from chop.dataset.targets import TargetForm, has_unlabelled
from chop.errors import ChopError, DatasetError
from chop.scoring.labels import UNLABELLED
from chop.tools.logger import get_logger
from chop.tools.model_inputs import as_input, map_tensors, tensors_of

logger = get_logger(__name__)

SHUFFLING = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
LABELS = ("labels", "label")
"""The names of targets in batches that are dictionaries, by the convention of Hugging Face."""

TOKENS, MASK = "input_ids", "attention_mask"
"""The names of tokens and of the mask that is 0 for padding, there."""

MANY_SAMPLES = 1_000_000
"""After which a reading that goes on is spoken of: a stream may have no end."""


def read_part(loader: Any, part: str, form: TargetForm) -> list[Batch]:
    """All batches of a loader in stored order and in one form; raises DatasetError for anything else."""
    batches, samples = [], 0
    _tell_sampler(loader, part)
    for batch in in_stored_order(loader):
        x, y = read_batch(batch, part, form)
        if len(y):
            batches.append((map_tensors(torch.clone, x), y.clone()))  # a loader may use its memory again
        told, samples = samples // MANY_SAMPLES, samples + len(y)
        if samples // MANY_SAMPLES > told:
            logger.warning("the %s set is still being read: %s samples so far; does it end?", part, f"{samples:,}")
    if not batches:
        raise DatasetError(f"the {part} set is empty: give it at least one sample")
    return batches


def read_batch(batch: Any, part: str, form: TargetForm) -> Batch:
    """A batch as `(x, y)`: x in the form of `chop.tools.model_inputs.as_input`, y in that of `form`.

    Raises DatasetError where the batch is neither a pair nor a dictionary with "labels", or x and y differ in length.
    """
    try:
        x, y = own_targets(batch) if form.are_inputs else _pair(batch)
        x = as_input(x)
        samples = _samples(x, y)
        return x, form.read(y, samples)
    except ChopError as error:
        raise DatasetError(f"the {part} set: {error}") from error


def without_unlabelled(batch: Batch) -> Batch:
    """The samples of a batch that have a label; those without have the target `UNLABELLED`."""
    x, y = batch
    if not has_unlabelled(y):
        return batch
    rows = (y != UNLABELLED).nonzero()[:, 0]
    return take(x, rows), y[rows]


def joined(batches: list[Batch], part: str) -> list[Batch]:
    """Join consecutive batches that are alike; a batch with other padding stays apart.

    Raises DatasetError for targets that differ in shape or type, which no metric could take together.
    """
    forms = {form_of(y): y for _, y in batches}
    if len(forms) > 1:
        told = " and ".join(f"{tuple(y.shape)} {y.dtype}" for y in list(forms.values())[:2])
        raise DatasetError(
            f"the {part} set has targets of several forms, {told}: pad them to one length for all batches in the "
            f"collate function ({UNLABELLED} where there is no label)"
        )
    groups = [list(own) for _, own in groupby(batches, lambda batch: form_of(batch[0]))]
    return [(join([x for x, _ in own]), torch.cat([y for _, y in own])) for own in groups]


def in_stored_order(loader: Any) -> Any:
    """The same samples in stored order: a loader that shuffles or drops samples is rebuilt.

    A sampler of the user's own, whose order only it knows, is left as it is, and so is a loader that iterates in a way
    of its own.
    """
    if not isinstance(loader, DataLoader) or type(loader).__iter__ is not DataLoader.__iter__:
        return loader
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
    drops = loader.drop_last or getattr(loader.batch_sampler, "drop_last", False)
    if isinstance(loader.dataset, IterableDataset):
        return _again(loader, loader.dataset, size) if drops and size else loader
    is_known = loader.batch_sampler is None or type(loader.batch_sampler) is BatchSampler
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    is_whole = isinstance(sampler, SequentialSampler) and not drops
    if is_whole or not is_known or not isinstance(sampler, (SequentialSampler, *SHUFFLING)):
        return loader
    dataset = loader.dataset
    if isinstance(sampler, SubsetRandomSampler):
        dataset = Subset(dataset, list(sampler.indices))
    return _again(loader, dataset, size)


def _tell_sampler(loader: Any, part: str) -> None:
    """Log if the samples that are measured differ from those that a sampler of torch draws."""
    if part == "train" or not isinstance(loader, DataLoader) or in_stored_order(loader) is loader:
        return
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    is_weighted = isinstance(sampler, WeightedRandomSampler)
    if is_weighted or (
        isinstance(sampler, RandomSampler) and (sampler.replacement or len(sampler) < len(sampler.data_source))
    ):
        logger.info(
            "the %s set: its %s is not used, since measuring takes every sample once, in stored order; a Subset holds "
            "the samples that are meant",
            part,
            type(sampler).__name__,
        )


def read_by_one_process(loader: Any, part: str) -> Any:
    """The same loader; a stream that several workers would each read whole is read by one process."""
    if not (isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset) and loader.num_workers > 1):
        return loader
    if type(loader).__iter__ is not DataLoader.__iter__:
        return loader
    logger.info(
        "the %s set is an IterableDataset with %d workers: it is read by one process, so that no sample is read twice",
        part,
        loader.num_workers,
    )
    return _again(loader, loader.dataset, loader.batch_size, loader.drop_last)


def is_spent(loader: Any) -> bool:
    """Whether a stream that was read once yields nothing more."""
    is_stream = isinstance(loader.dataset, IterableDataset) if isinstance(loader, DataLoader) else False
    if not is_stream and isinstance(loader, (DataLoader, list, tuple)):
        return False
    return next(iter(loader), None) is None


def _again(loader: DataLoader[Any], dataset: Any, batch_size: int | None, drop_last: bool = False) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size=batch_size,
        collate_fn=loader.collate_fn,
        shuffle=False,
        drop_last=drop_last and bool(batch_size),
    )


def own_targets(batch: Any) -> tuple[Any, Any]:
    """A batch of tokens as `(x, y)`; without targets these are the tokens that are not padding.

    Raises DatasetError for a batch with no tokens.
    """
    if isinstance(batch, (tuple, list)) and len(batch) == 1:
        batch = batch[0]
    if isinstance(batch, (Tensor, np.ndarray)):
        return batch, batch
    if not isinstance(batch, Mapping) or any(key in batch for key in LABELS) or TOKENS not in batch:
        return _pair(batch)
    tokens, mask = torch.as_tensor(batch[TOKENS]), batch.get(MASK)
    return dict(batch), tokens if mask is None else tokens.masked_fill(torch.as_tensor(mask) == 0, UNLABELLED)


def _pair(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    label = next((key for key in LABELS if key in batch), None) if isinstance(batch, Mapping) else None
    if label is not None:
        return {key: value for key, value in batch.items() if key != label}, batch[label]
    size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
    raise DatasetError(
        f"it yields a {type(batch).__name__}{size} where (x, y) belongs: let its collate function return (x, y), x a "
        'tensor, a tuple or a dictionary (or a dictionary with "labels")'
    )


def _samples(x: Any, y: Any) -> int:
    """The samples of an input; raises DatasetError where its tensors differ in length."""
    lengths = {name: tensor.shape for name, tensor in tensors_of(x).items() if tensor.ndim}
    if not lengths:
        raise DatasetError(
            "its input has no dimension of samples: single samples come where batches belong; wrap them "
            "in a torch DataLoader"
        )
    samples = next(iter(lengths.values()))[0]
    other = next((name for name, shape in lengths.items() if shape[0] != samples), None)
    if other is not None:
        first = next(iter(lengths))
        raise DatasetError(
            f"its input {first} is {tuple(lengths[first])} and {other} is {tuple(lengths[other])}: the first dimension "
            "of all is the samples; repeat what all samples share (expand), or keep it as a buffer of the model"
        )
    if isinstance(y, Tensor) and not y.ndim:
        raise DatasetError("it yields single samples where batches belong; wrap it in a torch DataLoader")
    return samples


def labelled_only(batches: list[Batch], part: str, label: int = UNLABELLED) -> list[Batch]:
    """The batches without unlabelled samples, which are logged; raises DatasetError if none is left."""
    kept = [batch for batch in map(without_unlabelled, batches) if len(batch[1])]
    samples, left = (sum(len(y) for _, y in own) for own in (batches, kept))
    if not left:
        raise DatasetError(f"the {part} set has no sample with a label (all targets are {label})")
    if left < samples:
        logger.info(
            "%s of %s samples of the %s set have no label (%d) and are left out",
            f"{samples - left:,}",
            f"{samples:,}",
            part,
            label,
        )
    return kept
