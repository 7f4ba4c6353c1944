"""Cyclic garbage collection, out of the way of a start and of what a start leaves behind."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def put_off_collection() -> Generator[None]:
    """Collect no cycles while the block imports and builds, nor ever look at what it made.

    Modules and classes live as long as the process. To look through them again and again while they
    are made costs a sixth of a start, and later it makes each full collection a pause of all that is
    served.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
