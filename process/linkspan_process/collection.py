"""Cyclic garbage collection, out of the way of a start and of what a start leaves behind."""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

_NEW_OBJECTS: Final = 20_000
"""How many more containers are made than freed before the newest ones are looked through.

Python's own 700 is reached every few requests that are served at once, all of whose objects are in
use then; it cost a tenth of a request.
"""


@contextmanager
def put_off_collection() -> Generator[None]:
    """Collect no cycles while the block imports and builds, nor ever look at what it made.

    What is made from then on is looked through less often than Python does by itself.

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
        gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
        if collecting:
            gc.enable()
