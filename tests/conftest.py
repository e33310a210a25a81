"""For all tests."""

import gc

from bhvit.garbage import OBJECTS

gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])  # PyTorch and FINN are loaded: each collection is a long one
