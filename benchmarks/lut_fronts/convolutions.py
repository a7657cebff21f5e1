"""shapes-cnn from float to hls4ml: its front of accuracy against LUTs, and one network of it as a C++ project."""

from __future__ import annotations

from lut_fronts.commands import EXAMPLES, FOLDER, ch, checkpoints
from lut_fronts.exports import exported, manifest_of, tested

import chop

PROJECT = "shapes-cnn-luts"
CONFIG = EXAMPLES / "shapes_cnn_luts.toml"
LEVEL = 0.88
"""Accuracy on validation samples of the network that is exported: the cheapest that has it, else the best."""


def main() -> None:
    """Run the commands, print the front, and compare one network with its project."""
    line = ("train", "--config", str(CONFIG), "--for-space", "--pretrained")
    training = ch("shapes-cnn-training", *line, project=PROJECT)
    weights = FOLDER / PROJECT / "software" / "training_ckpts" / "best.safetensors"
    search = ch(PROJECT, "search", "--config", str(CONFIG), "--load", str(weights), project=PROJECT)
    print(f"training for the space: {training}\nsearch, its best networks trained: {search}\n", flush=True)
    networks = sorted(chop.load_study(checkpoints(PROJECT)).front_networks, key=lambda own: own.metrics["luts"])
    print("| trial | LUTs by layer | cycles | accuracy | test accuracy [95 %] |\n|---|---|---|---|---|")
    for own in networks:
        luts, cycles, accuracy = (own.metrics[name] for name in ("luts", "fpga_cycles", "accuracy"))
        test, low, high = tested(own)
        print(f"| {own.number} | {luts:,.0f} | {cycles:.0f} | {accuracy:.3f} | {test:.3f} [{low:.3f}, {high:.3f}] |")
    best = max(networks, key=lambda own: own.metrics["accuracy"])
    chosen = next((own for own in networks if own.metrics["accuracy"] >= LEVEL), best)
    folder, spent = exported(PROJECT, chosen.number, "hls4ml")
    checks = [f"{own['tool']}: {own['differing']:,} of {own['outputs']:,}" for own in manifest_of(folder)["checks"]]
    print(f"\ntrial {chosen.number} to hls4ml: {spent}; outputs that differ: {'; '.join(checks)}")
