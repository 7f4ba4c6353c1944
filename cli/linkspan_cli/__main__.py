"""Lets `python -m linkspan_cli` be the `linkspan` command."""

import sys

from linkspan_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
