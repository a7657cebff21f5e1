"""Makes `python -m chop` run `ch`."""

from chop.cli.main import main

if __name__ == "__main__":
    main()
