"""Makes `python -m chop.cli` run `ch`."""

from chop.cli.main import main

main()
