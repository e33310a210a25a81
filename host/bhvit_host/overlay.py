"""Loading the overlay with pynq, on a board or on the simulated device."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from .errors import HostError, WrongBitfile
from .settings import Settings

#: there is one where Linux can load a bitfile: on a board
FPGA_MANAGER = Path("/sys/class/fpga_manager/fpga0")
#: how far a clock may be above the one that was asked for (rounding of the frequency of the PLL)
ABOVE = 1.002


def choose_device(settings: Settings, wanted: str = "auto", model: str | None = None, say=None):
    """The pynq device: a board where there is one, else the simulated device of the package, which says so.

    Args:
        wanted: "auto", "board" or "sim". model: behind the simulated device, "rtl" or "golden" (default: $BHVIT_SIM or
            "rtl").
    """
    if wanted not in ("auto", "board", "sim"):
        raise HostError("There is no such device.", wanted, do="choose auto, board or sim")
    if wanted != "sim":
        from pynq import Device

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pynq's own words for no board
            found = [d for d in Device.devices if not hasattr(d, "simulated")]
        if found:
            return found[0]
        if FPGA_MANAGER.exists():  # a simulation that nobody asked for would be a surprise there
            raise HostError("pynq finds no device on this board.", "pynq.Device.devices", "it looks for one only where "
                            "XILINX_XRT is set" if "XILINX_XRT" not in os.environ else "XILINX_XRT is set",
                            "be root in a login shell, which sets what pynq needs: `sudo -i`; for the simulated "
                            "device: --platform sim")
        if wanted == "board":
            raise HostError("There is no board.", "pynq finds no device", do="run this on a PYNQ board, as root; or "
                            "use the simulated device: --platform sim")
    if settings.simulation is None:
        raise HostError("There is no board, and the package has no simulation.", settings.folder,
                        do="run this on a PYNQ board, or make a package with the simulation")
    from .sim.device import SimDevice

    device = SimDevice(settings.platform, settings.registers, model or os.environ.get("BHVIT_SIM", "rtl"))
    (say or _say)(f"no board: simulated device, {device.simulated}")
    return device


def _say(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def load(bitfile: Path, settings: Settings, device):
    """Load a bitfile and return the pynq Overlay. Raises HostError when a file is missing or does not belong here."""
    from pynq import Overlay

    from . import dma  # noqa: F401 (pynq binds the driver when the overlay is made)

    bitfile = Path(bitfile).resolve()
    if not bitfile.is_file():
        raise HostError("The bitfile does not exist.", bitfile, do="give the bitfile of the package; a package whose "
                        "name ends in _nobitfile has only a simulated one")
    if not bitfile.with_suffix(".hwh").is_file():
        raise HostError("The hwh file is missing.", bitfile.with_suffix(".hwh"),
                        "pynq reads addresses and clocks from it", "copy it beside the bitfile, with the same name")
    if not hasattr(device, "simulated") and is_simulated(bitfile):
        raise HostError("This bitfile is only for the simulated device.", bitfile,
                        do="synthesize one: `bhvit bitstream` in the repository, with Vivado")
    try:
        overlay = Overlay(str(bitfile), download=False, device=device)
    except HostError:
        raise
    except Exception as e:  # pynq's parser raises what it likes
        raise HostError("The hwh file cannot be read.", bitfile.with_suffix(".hwh"), f"{type(e).__name__}: {e}",
                        "copy it again; it must be the one that was written with the bitfile") from e
    blocks = {b: settings.registers["blocks"][b]["vlnv"] for b in settings.instances}
    for block, instance in settings.instances.items():
        found = overlay.ip_dict.get(instance["name"])
        if found is None or found["type"] != blocks[block]:
            raise WrongBitfile("This is no design of this project.", bitfile, f"its hwh has no {instance['name']} of "
                               f"type {blocks[block]}, but {', '.join(overlay.ip_dict) or 'no IP'}",
                               "use the bitfile and hwh of the package")
    # pynq 4.0.0 looks for UltraScale+ parameter names in Zynq-7000 files, finds no frequency and divides by it
    for clock in overlay.clock_dict.values():
        if clock.get("frequency") is None:
            clock["frequency"] = settings.clock_mhz
    try:
        overlay.download()
    except HostError:
        raise
    except Exception as e:
        raise HostError("The bitfile cannot be loaded.", bitfile, f"{type(e).__name__}: {e}",
                        "be root (`sudo -i`), and use the package that was made for this board") from e
    return overlay


def is_simulated(bitfile: Path) -> bool:
    """Whether a file that stands in for a bitfile is marked as made for the simulated device."""
    from .sim.hwh import MARK

    with Path(bitfile).open("rb") as f:
        return f.read(len(MARK)) == MARK


def set_clock(overlay, mhz: float | None = None) -> float:
    """Set clock 0 of the programmable logic and return what it is, in MHz.

    mhz: the dividers' nearest clock at or below it. None: that of the hwh, which timing was met with; loading the
    overlay has set it, but pynq takes the nearest divider, which may be faster.
    """
    from pynq import Clocks

    limit = float(overlay.clock_dict[0]["frequency"]) if mhz is None else mhz
    now = float(Clocks.fclk0_mhz)
    if mhz is None and 0 < now <= limit * ABOVE:
        return now
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the achieved frequency is returned and reported
        asked = limit
        while asked > limit / 4:
            Clocks.fclk0_mhz = asked
            if (now := float(Clocks.fclk0_mhz)) <= limit * ABOVE:
                return now
            asked *= 0.98
    raise HostError("The clock cannot be set.", f"{limit:g} MHz", f"the nearest that the dividers give is {now:g} MHz",
                    "ask for another clock: --fclk_mhz")
