"""Makes `python -m chop` run `ch`."""

from runpy import run_module

if __name__ == "__main__":
    run_module("chop.cli", run_name="__main__", alter_sys=True)
