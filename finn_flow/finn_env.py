"""Run FINN+ as a library: settings point into a temporary or build folder, nothing is written to the user's home.

Call :func:`setup` (importing :mod:`bhvit.finn_flow.ops` does) before anything of FINN is used. FINN's binding of
Vivado's simulator (``finn.xsi``) is replaced by names that fail with an explanation when called, because
``finn.builder`` needs them at import time; this project simulates its layers with Verilator
through :mod:`bhvit.finn_flow.sim`.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

_XSI_NAMES = ("compile_sim_obj", "load_sim_obj", "reset_rtlsim", "close_rtlsim", "rtlsim_multi_io", "get_simkernel_so",
              "locate_glbl")
_done = False


class XsiUnavailable(RuntimeError):
    """FINN asked for Vivado's simulator in a process that uses the open backend."""


class _NoSimEngine:
    """Stands in for ``finn.xsi.SimEngine``."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        _no_xsi()


def _no_xsi(*_args: Any, **_kwargs: Any) -> None:
    raise XsiUnavailable("FINN asked for Vivado's simulator (finn.xsi), which the open backend does not use. "
                         "This project's layers run in Verilator: exec_mode `rtlsim` of their nodes, or `bhvit cosim`.")


def setup(build_dir: Path | None = None) -> Path:
    """Prepare the environment once and return FINN's scratch folder.

    Args:
        build_dir: where FINN may create its per-node folders; default: a private folder in the temporary directory.
            A later call with a folder moves the scratch folder there.
    """
    global _done
    if build_dir is None:
        if _done:
            return Path(os.environ["FINN_BUILD_DIR"])
        build_dir = Path(os.environ.get("FINN_BUILD_DIR")
                         or Path(tempfile.gettempdir()) / f"bhvit-finn-{os.getuid()}")
    build_dir = Path(build_dir).resolve()
    if _done and Path(os.environ["FINN_BUILD_DIR"]) == build_dir and build_dir.is_dir():
        return build_dir
    build_dir.mkdir(parents=True, exist_ok=True)
    os.environ["FINN_BUILD_DIR"] = str(build_dir)
    os.environ["FINN_SETTINGS"] = str(build_dir / "settings.yaml")  # need not exist; else FINN writes to the home
    os.environ.setdefault("NUM_DEFAULT_WORKERS", "1")
    # named in FINN's Tcl for Vitis HLS, which stops where it is not set
    os.environ.setdefault("FINN_CUSTOM_HLS", str(Path(__file__).resolve().parents[1] / "hls" / "include"))

    from finn.util.settings import get_settings, initialize_dummy_settings

    initialize_dummy_settings()
    os.environ["FINN_RTLLIB"] = str(get_settings().finn_rtllib)
    import finn.xsi as xsi

    if "SimEngine" not in vars(xsi):
        xsi.SimEngine = _NoSimEngine
        for n in _XSI_NAMES:
            setattr(xsi, n, _no_xsi)
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # qonnx runs single nodes: every other initializer would be a warning
    logging.getLogger("finn_logger").setLevel(logging.WARNING)
    _done = True
    return build_dir
