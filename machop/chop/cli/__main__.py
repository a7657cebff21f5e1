"""The entry point of `ch` and of `python -m chop.cli`, which answers Ctrl-C from the first import on."""

import sys


def run() -> None:
    """Import `ch`, run it and exit."""
    try:
        from chop.cli.main import main

        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201 - the answer to Ctrl-C
        sys.exit(130)


if __name__ == "__main__":
    run()
