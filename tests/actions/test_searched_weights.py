"""Weights that a later training has moved aside: every command that builds a network of the search names their file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import chop
from chop.actions.searched_weights import require_searched_weights
from chop.errors import SearchError
from chop.models import get_model
from chop.models.checkpoint import load_weights, save_weights
from chop.record.folder import SearchFolder
from tests.conftest import Command

SOFTWARE = Path("mase_output/p/software")
RUN = "mase_output/p"
COMMANDS = (
    ("test", "--from-search", RUN, "--trial", "0"),
    ("transform", "--from-search", RUN, "--trial", "0"),
    ("export", RUN, "--trial", "0", "--to", "onnx"),
)


def test_the_file_that_a_later_training_moved_aside_is_named_by_every_command(
    config: Path, ch: Command, tmp_path: Path
) -> None:
    best = tmp_path / SOFTWARE / "training_ckpts" / "best.safetensors"
    kept = tmp_path / SOFTWARE / "training_ckpts-1" / "best.safetensors"
    training = ("train", "--config", str(config), "--pretrained", "--for-space", "--max-epochs", "1")
    ch(*training)
    ch("search", "--config", str(config), "--load", str(best))
    ch(*training, "--seed", "1", "--learning-rate", "0.01")
    told = f"the model has other weights than the search in {SOFTWARE}/search_ckpts measured: "
    for command in COMMANDS:
        _, err = ch(*command, status=1)
        assert f"{told}{best} holds others now, and {kept} has them: add --load {kept}" in " ".join(err.split())
    assert not (SOFTWARE / "transform").exists() and not (SOFTWARE / "export").exists()
    for command in COMMANDS:
        ch(*command, "--load", str(kept))
    kept.rename(tmp_path / "elsewhere.safetensors")
    for command in COMMANDS:
        _, err = ch(*command, status=1)
        assert f"{told}{best} holds others now: give the file that has them by --load PATH" in " ".join(err.split())
    model = get_model("toy")
    load_weights(model, best)
    with pytest.raises(SearchError, match=rf"{told}{best} holds others now: give .* by weights=\"PATH\", or"):
        chop.load_study(RUN, model)


@pytest.fixture
def searched(tmp_path: Path) -> Callable[..., tuple[nn.Module, SearchFolder]]:
    """Runs a search of a small network, from Python; returns another network and the folder."""

    def run(**options: str) -> tuple[nn.Module, SearchFolder]:
        model, other = nn.Linear(4, 2), nn.Linear(4, 2)
        if options:
            save_weights(model, options["weights"])
            model = nn.Linear(4, 2)
        x = torch.randn(60, 4)
        space = chop.Space(["integer"], [4, 8])
        goals = ["loss", "average_bitwidth"]
        folder = tmp_path / "s" / "software" / "search_ckpts"
        data = (x, x[:, :2].argmax(1))
        chop.search(model, data, space, strategy="brute_force", objectives=goals, folder=folder, **options)
        return other, SearchFolder(folder)

    return run


def refusal(model: nn.Module, files: SearchFolder, given: str | None = None) -> str:
    with pytest.raises(SearchError) as refused:
        require_searched_weights(model, files, given)
    return str(refused.value)


def test_the_latest_of_several_files_with_the_weights_is_named(
    searched: Callable[..., tuple[nn.Module, SearchFolder]], tmp_path: Path
) -> None:
    file = tmp_path / "my run" / "best.safetensors"
    other, files = searched(weights=str(file))
    assert f"measured: {file} has them: add --load '{file}'" in refusal(other, files)
    (tmp_path / "my run").rename(tmp_path / "my run-2")
    for number in ("10", "11", "old"):
        (tmp_path / f"my run-{number}").mkdir()
    save_weights(other, tmp_path / "my run-11" / file.name)
    (tmp_path / "my run-10" / file.name).write_bytes(b"damaged")
    assert f"{file} is no longer there, and {tmp_path}/my run-2/{file.name} has them" in refusal(other, files)
    (tmp_path / "my run-2").rename(tmp_path / "my run-old.1")
    assert f"{file} is no longer there: give the file that has them by --load PATH" in refusal(other, files)


def test_what_a_search_had_in_place_of_a_file_is_told(
    searched: Callable[..., tuple[nn.Module, SearchFolder]], config: Path, ch: Command
) -> None:
    other, files = searched()
    assert "measured: it had no file of weights: leave out --load own.pt" in refusal(other, files, "own.pt")
    assert "measured: it had those that the model came with then: give a file" in refusal(other, files)
    ch("search", "--config", str(config), "--pretrained")
    of_command = SearchFolder(SOFTWARE / "search_ckpts")
    assert "measured: it had those that ship with the model (--pretrained)" in refusal(get_model("toy"), of_command)
