"""shapes-cnn from float to Verilog and hls4ml: its front of accuracy against LUTs, and one network of it built."""

from __future__ import annotations

from lut_fronts.commands import EXAMPLES, FOLDER, ch, checkpoints
from lut_fronts.exports import build, exported, manifest_of, print_built

import chop

PROJECT = "shapes-cnn-luts"
CONFIG = EXAMPLES / "shapes_cnn_luts.toml"
LEVEL = 0.90
"""Accuracy on validation samples of the network that is built: the cheapest that has it, else the best."""


def main() -> None:
    """Run the commands and print the front, and the circuit of one network."""
    training = ch("shapes-cnn-training", "train", "--config", str(CONFIG), "--for-space", "--pretrained",
                  project=PROJECT)  # fmt: skip
    weights = FOLDER / PROJECT / "software" / "training_ckpts" / "best.safetensors"
    search = ch(PROJECT, "search", "--config", str(CONFIG), "--load", str(weights), project=PROJECT)
    print(f"training for the space: {training}\nsearch, its best networks trained: {search}\n", flush=True)
    networks = sorted(chop.load_study(checkpoints(PROJECT)).front_networks, key=lambda own: own.metrics["luts"])
    print("| trial | accuracy | LUTs by layer |\n|---|---|---|")
    for own in networks:
        print(f"| {own.number} | {own.metrics['accuracy']:.3f} | {own.metrics['luts']:,.0f} |")
    best = max(networks, key=lambda own: own.metrics["accuracy"])
    chosen = next((own for own in networks if own.metrics["accuracy"] >= LEVEL), best)
    built = build(PROJECT, chosen)
    print_built([built])
    folder, spent = exported(PROJECT, chosen.number, "hls4ml")
    checks = [f"{own['tool']}: {own['differing']:,} of {own['outputs']:,}" for own in manifest_of(folder)["checks"]]
    print(f"\nVerilog: {built.spent}; Yosys {built.cells.get('seconds', 0):.0f} s")
    print(f"hls4ml: {spent}; outputs that differ: {'; '.join(checks)}")
