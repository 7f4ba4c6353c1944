"""Lets `python -m linkspan_cli` be the `linkspan` command."""

import signal
import sys

if __name__ == "__main__":
    # Until something serves, Ctrl-C ends the process like any other; `main` takes long to import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from linkspan_cli.main import main

    sys.exit(main())
