"""Joins the outputs of several batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from chop.errors import ChopError


def joined_outputs(outputs: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """The outputs for all samples, `(samples, *output)`, from those of batches of `sizes` samples.

    Raises ChopError where a batch has no output for each sample, or outputs of another shape.
    """
    found = [with_samples(output, samples) for output, samples in zip(outputs, sizes, strict=True)]
    if len({output.shape[1:] for output in found}) > 1:
        told = " and ".join(dict.fromkeys(str(tuple(output.shape)) for output in found))
        raise ChopError(
            f"the model returns outputs of several shapes, {told}, which cannot be scored together: pad all batches to "
            "one length, or let the model return one result for each sample"
        )
    return torch.cat(found) if len(found) > 1 else found[0]


def with_samples(output: Tensor, samples: int) -> Tensor:
    """An output for so many samples with these as its first dimension, which `squeeze()` takes from a single one.

    Raises ChopError for an output that has none.
    """
    if output.ndim and len(output) == samples:
        return output
    if samples == 1:
        return output.unsqueeze(0)
    raise ChopError(
        f"the model gives {tuple(output.shape)} for {samples} samples; the first dimension of what is scored must be "
        "the samples (another output may be named: output = … in what build_data returns)"
    )
