"""Python's garbage collector, in programs that run for long."""

import gc
from functools import cache
from typing import Final

# So many containers are made before the collector looks at them; Python has 700, and a call of the gateway makes about
# 200, a page of the portal some thousands.
YOUNG_OBJECTS: Final = 20_000


@cache
def spare_the_collector() -> None:
    """What the program is made of stays until its end: the garbage collector need not look at it again each time. Once
    for all apps of a process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
