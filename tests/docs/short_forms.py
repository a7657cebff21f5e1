"""Pages whose commands take minutes, and how the usual tests run them; `-m slow` runs them as they stand."""

from __future__ import annotations

from tests.docs.pages import Short

SHORT = {
    "README.md": Short({"compare --config": "compare --seeds 2 --config"}),
    "docs/how_to/compare.md": Short(
        {"--seeds 20 --budget 200": "", "compare --config": "compare --seeds 2 --budget 40 --config"}
    ),
    "docs/tutorials/lab3.md": Short({"--budget 200": "", "compare --config": "compare --seeds 2 --budget 40 --config"}),
    "docs/how_to/training.md": Short(
        {
            "machop/configs/examples/jsc_mlp_for_space.toml": "short.toml",
            "--max-epochs 30": "--max-epochs 1",
            "--for-space": "--for-space --max-steps 20",
            "--finish-epochs 3": "--finish-epochs 1",
            "n_trials=50": "n_trials=4",
            "max_epochs=2": "max_epochs=1",
        },
        {
            "short.toml": (
                "machop/configs/examples/jsc_mlp_for_space.toml",
                {
                    "[3, 4, 6, 8]": "[4, 8]",
                    "[2, 3, 4, 8]": "[3]",
                    "max_epochs = 24": "max_epochs = 1\nprobe_samples = 500",
                },
            )
        },
    ),
}
