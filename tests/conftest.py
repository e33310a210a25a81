"""For all tests."""

import gc
import os
import sys
from pathlib import Path

from bhvit.garbage import OBJECTS

gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])  # PyTorch and FINN are loaded: each collection is a long one
# Matplotlib keeps one list of fonts for all environments of a user. A list that was made while one of them was being
# deleted lacks fonts, of which matplotlib complains on stderr, as it does where making a list takes long: notebooks
# that say something there fail. So tests have a list of this environment, made before there are several processes.
os.environ.setdefault("MPLCONFIGDIR", str(Path(sys.prefix) / "var" / "matplotlib"))
if "PYTEST_XDIST_WORKER" not in os.environ:
    import matplotlib.font_manager  # noqa: F401
else:  # there is a process per core: threads of each would wait for those of the others
    os.environ.setdefault("OMP_NUM_THREADS", "1")
