"""The layer declarations.

Folders named in the environment variable BHVIT_LAYERS (separated like PATH) hold further layers, each as ``<stem>.py``
with its kernel ``bv_<stem>.sv`` beside it.
"""

import os

__path__ += [p for p in os.environ.get("BHVIT_LAYERS", "").split(os.pathsep) if p]
