"""Makes `python -m chop.cli` run `ch`, and answers Ctrl-C from the first import on."""

import sys

try:
    from chop.cli.main import main

    main()
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)  # noqa: T201 - the answer to Ctrl-C
    sys.exit(130)
