"""Turns arrays of tokens into loaders of batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chop.dataset.rows import TensorRows, rows_loader
from chop.errors import DatasetError
from chop.tools.logger import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True)
class TokenArrays:
    """Makes loaders of token arrays: `(samples, tokens)`, or one text `(tokens,)` cut into samples of `length`."""

    batch_size: int
    length: int
    seed: int = 0

    def loader(self, tokens: Any, part: str) -> Any:
        """A loader of a part, shuffled for training; what is no array comes back as it is.

        Raises DatasetError for an array of anything but whole numbers, or for a text that is shorter than a sample.
        """
        if not isinstance(tokens, (Tensor, np.ndarray)):
            return tokens
        samples = self._samples(torch.as_tensor(tokens), part)
        return rows_loader(TensorRows(samples, samples), self.batch_size, 0, part == "train", self.seed)

    def _samples(self, tokens: Tensor, part: str) -> Tensor:
        if tokens.ndim not in (1, 2) or tokens.is_floating_point() or tokens.is_complex():
            raise DatasetError(
                f"the {part} set is an array of {tokens.dtype} {tuple(tokens.shape)}; tokens are whole numbers "
                "(samples, tokens), or (tokens,) for one long text"
            )
        tokens = tokens.long()
        if tokens.ndim == 2:
            return tokens
        count, left = divmod(len(tokens), self.length)
        if not count:
            raise DatasetError(
                f"the {part} set is a text of {len(tokens):,} tokens, shorter than one sample of {self.length}: "
                "lower --max-token-len"
            )
        logger.info(
            "the %s set is cut into %s samples of %d tokens (--max-token-len); %d tokens at its end are left out",
            part,
            f"{count:,}",
            self.length,
            left,
        )
        return tokens[: count * self.length].view(count, self.length)
