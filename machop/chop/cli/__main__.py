"""`python -m chop.cli` is `ch`."""

from chop.cli.main import main

main()
