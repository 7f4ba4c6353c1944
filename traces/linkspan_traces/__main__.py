"""`python -m linkspan_traces`: the backend by itself."""

import sys

from linkspan_traces.server import main

if __name__ == "__main__":
    sys.exit(main())
