"""shapes: drawn alike every time, balanced, and what its classes say."""

from __future__ import annotations

import torch

from chop.dataset import MaseDataModule, get_dataset_info
from chop.dataset.shapes import SHAPES, SIZE, clean_images, load_shapes

PARTS = {"train": 8_000, "val": 2_000, "test": 2_000}


def test_parts_have_their_sizes_and_all_classes_alike() -> None:
    data = MaseDataModule("shapes", batch_size=128)
    data.setup()
    for part, rows in PARTS.items():
        x, y = (torch.cat(column) for column in zip(*data.batches(part), strict=True))
        assert x.shape == (rows, 1, 12, 12)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert y.bincount().tolist() == [rows // 5] * 5
        assert data.batches(part, 500)[0][1].bincount().tolist() == [100] * 5
    info = get_dataset_info("shapes")
    assert (info.num_features, info.image_size, info.num_classes, info.rows) == (1, (12, 12), 5, sum(PARTS.values()))


def test_images_are_the_same_every_time_whatever_the_global_seed() -> None:
    first = load_shapes()
    torch.manual_seed(7)
    again = load_shapes()
    for part in PARTS:
        assert torch.equal(getattr(first, part).x, getattr(again, part).x)


def test_the_first_image_is_the_one_that_the_weights_know() -> None:
    x = load_shapes().train.x
    torch.testing.assert_close(x[0, 0, 5, 3:7], torch.tensor([0.21998, 0.33087, 0.14509, 0.19002]), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.mean(), torch.tensor(0.19642), atol=1e-4, rtol=0)


def test_no_image_is_in_two_parts() -> None:
    parts = load_shapes()
    images = torch.cat([getattr(parts, part).x for part in PARTS]).flatten(1)
    assert len(images.unique(dim=0)) == len(images) == sum(PARTS.values())


def test_each_class_is_its_shape() -> None:
    """Upright in the middle, of the middle radius: what lies on its lines is inked, what lies off them is not."""
    uniform = torch.tensor([0.5, 0.5, 0.0, 0.5, 0.5, 1.0])[:, None].expand(6, len(SHAPES))
    ink = clean_images(uniform)
    middle = ink[:, SIZE // 2 - 1 : SIZE // 2 + 1, SIZE // 2 - 1 : SIZE // 2 + 1].amax((1, 2))
    assert (middle > 0.5).tolist() == [False, False, False, True, True]
    corner = ink[:, 2, 2]
    assert (corner > 0.5).tolist() == [False, True, False, False, False]
    across = ink[:, SIZE // 2, 3]
    assert across[3] > 0.5 > across[4]
    assert ink[2].flip(0).ne(ink[2]).any()
    for number in (0, 1, 3):
        torch.testing.assert_close(ink[number], ink[number].rot90())
    torch.testing.assert_close(ink.max(), torch.tensor(2.0))
