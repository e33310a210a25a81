"""Runs BHViT accelerators on PYNQ boards, and on a simulated device where there is no board.

    from bhvit_host import Accelerator
    with Accelerator() as accelerator:              # the package of the working folder, or the installed one
        logits = accelerator.execute(images)        # uint8 (N, H, W, C)

pynq is imported when a device is used, so packing and preprocessing work without it.
"""

from __future__ import annotations

from .errors import DeviceTimeout, DmaError, HostError, WrongBitfile

__all__ = ["Accelerator", "DeviceTimeout", "DmaError", "HostError", "Preprocess", "Settings", "WrongBitfile", "pack",
           "unpack"]


def __getattr__(name: str):
    """Imports of what needs numpy, Pillow or pynq when it is asked for."""
    from importlib import import_module

    places = {"Accelerator": "driver", "Preprocess": "images", "Settings": "settings", "pack": "packing",
              "unpack": "packing"}
    if name not in places:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f".{places[name]}", __name__), name)
