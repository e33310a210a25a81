"""The settings file of a deployment package: everything that the host has to know about a build."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from bhvit.errors import UserError

from ..shell import registers
from ..shell.design import ShellParameters, build_hash
from ..stitch import Design, stream_dict
from ..streams import Stream

FORMAT = 1
#: prefix of the part -> platform, and where its shell's slaves are mapped (block_design.tcl; a hwh has the last word)
PLATFORMS = {"xc7z": "zynq-7000", "xczu": "zynq-ultrascale", "xck": "zynq-ultrascale"}
BASES = {"zynq-7000": {"dma": 0x40000000, "control": 0x40010000, "feeder": 0x40020000},
         "zynq-ultrascale": {"dma": 0xA0000000, "control": 0xA0010000, "feeder": 0xA0020000}}
INSTANCES = {"dma": "dma_0", "control": "control_0"}
#: of designs whose constants come from outside
FEEDER = {"feeder": "feeder_0"}
#: bits of a word on the memory side of the DMA (axi_bits of configs/board)
DATA_WIDTH = {"zynq-7000": 64, "zynq-ultrascale": 128}


def platform(part: str) -> str:
    """The kind of Zynq that a part is. Raises UserError for parts without a processor."""
    for prefix, found in PLATFORMS.items():
        if part.lower().startswith(prefix):
            return found
    raise UserError("The part has no processor that could run the host code.", part,
                    f"known are parts that begin with {', '.join(PLATFORMS)}",
                    "build for a Zynq board, e.g. --set board=ZCU104")


def _stream(s: Stream) -> dict[str, Any]:
    return {k: v for k, v in stream_dict(s).items() if k in ("dims", "dtype", "SIMD", "TP")}


def constants(design: Design) -> dict[str, Any] | None:
    """Files with the constants that come from outside, relative to the settings; None when there are none."""
    if not design.loads and not design.weights:
        return None

    def entry(path: Path, **more: Any) -> dict[str, Any]:
        return {"file": f"constants/{path.name}", "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **more}

    load = None if design.load_file is None else entry(design.load_file, memories=len(design.loads))
    return {"load": load, "weights": [entry(design.memories / f"{w['port']}.bin", node=w["node"], words=w["words"],
                                            bytes=w["bytes"]) for w in design.weights]}


def settings(design: Design, config: dict[str, Any], *, name: str, classes: int, class_names: list[str] | None,
             bitfile: str | None, simulation: str | None) -> dict[str, Any]:
    """The contents of settings.json.

    Args:
        config: configuration of the build (with `device`, `board`, `clock_mhz`, `output`). classes: of the network.
        bitfile, simulation: bitfile of a board and of the simulated device, relative to the settings, or None.
    """
    if len(design.inputs) != 1 or len(design.outputs) != 1:
        raise UserError("The host drives designs with one input and one output.", design.folder,
                        f"this one has {len(design.inputs)} and {len(design.outputs)}")
    kind = platform(config["device"])
    outside = constants(design)
    instances = {**INSTANCES, **(FEEDER if outside else {})}
    dims = design.inputs[0].dims
    return {"format": FORMAT, "name": name, "board": config["board"] or config["device"], "part": config["device"],
            "platform": kind, "clock_mhz": config["clock_mhz"], "build_hash": build_hash(design),
            "streams": {"input": _stream(design.inputs[0]), "output": _stream(design.outputs[0])},
            "network": {"image_size": dims[0], "image_channels": dims[-1], "classes": classes,
                        "class_names": class_names, "output": config["output"]},
            "cycles": {"interval": design.max_cycles, "latency_bound": design.total_cycles, "evidence": "estimate"},
            "instances": {b: {"name": i, "base": BASES[kind][b]} for b, i in instances.items()},
            "constants": outside,
            "data_width": DATA_WIDTH[kind], "bitfile": bitfile,
            "simulation": None if simulation is None else {"bitfile": simulation}, "registers": registers.as_dict()}


def simulated_design(design: Design, data: dict[str, Any], *, machine: str) -> dict[str, Any]:
    """What the simulated bitfile says: identity of the design and how its simulator is started.

    Args: data: the settings. machine: processor kind of the simulator. File names are relative to the bitfile.
    """
    p = ShellParameters.of(design, data["clock_mhz"], axi_bits=data["data_width"])
    return {"build_hash": data["build_hash"], "clock_mhz": data["clock_mhz"], "data_width": p.axi_bits,
            "constants": data["constants"], "machine": machine, "simulator": "accelerator",
            "memories": "memories", "golden": "graph.onnx", "input_bytes": p.input_bytes,
            "output_bytes": p.output_bytes}
