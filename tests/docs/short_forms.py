"""Pages whose commands take minutes, and how the usual tests run them; `-m slow` runs them as they stand."""

from __future__ import annotations

from tests.docs.pages import Short

FEW = {"num_samples = 4000": "num_samples = 100"}
EXERCISES = {
    "widths": {"[2, 3, 4, 5, 6, 8, 12, 16, 32]": "[2, 8]", "max_epochs = 1": "max_epochs = 1\nnum_samples = 128"},
    "sparsity": {
        ", 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8": "",
        "[0, 1, 2]": "[0]",
        "num_samples = 20000": "num_samples = 128",
    },
    "fractions": {"[8, 16, 32]": "[8]"},
    "formats": {"[1, 2, 3, 4, 5, 6, 8]": "[1, 2, 8]"},
    "accuracy_and_bits": {"[3, 4, 6, 8]": "[3, 8]"},
}
"""What the short forms of the exercises replace in their files."""

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
    "docs/concepts/learned_widths.md": Short(
        {
            "machop/configs/examples/jsc_mlp_front_descent.toml": "short.toml",
            "machop/configs/examples/jsc_mlp_line.toml": "line.toml",
        },
        {
            "line.toml": (
                "machop/configs/examples/jsc_mlp_line.toml",
                {
                    "epochs = 150": "epochs = 6\ntrain_samples = 2048\nwidth_learning_rate = 0.3",
                    "snapshots = 5": "snapshots = 2",
                    "last_factor = 2e-5": "last_factor = 1e-2",
                    "line_networks = 14": "line_networks = 1",
                },
            ),
            "short.toml": (
                "machop/configs/examples/jsc_mlp_front_descent.toml",
                {
                    "epochs = 60": "epochs = 6\ntrain_samples = 2048\nwidth_learning_rate = 0.3",
                    "snapshots = 15": "snapshots = 3",
                    "last_factor = 5e-4": "last_factor = 1e-2",
                    "descent_networks = 4": "descent_networks = 1",
                },
            ),
        },
    ),
    "docs/tutorials/exercises.md": Short(
        {
            **{f"machop/configs/examples/reviews_{name}.toml": f"{name}.toml" for name in EXERCISES},
            "--seeds 20 --budget 100": "--seeds 2 --budget 9",
            '"n_trials": 30': '"n_trials": 3',
        },
        {
            f"{name}.toml": (f"machop/configs/examples/reviews_{name}.toml", {**FEW, **own})
            for name, own in EXERCISES.items()
        },
    ),
}
