"""The deployment package: everything that a board, or a machine without one, needs to run a finished build.

    NAME/  README.md LICENSE SHA256SUMS self_test.py driver.py validate.py; pyproject.toml etc. for pip
           driver/    the host distribution (bhvit_host)
           overlay/   settings.json provenance.json SHA256SUMS  bitfile/ simulation/ data/ notebooks/
                      constants/ (of designs whose constants come from outside)

A package without a bitfile for a board says so in its name. Host and flow meet here, and otherwise only in these files.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import sys
import zipfile
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from .errors import UserError

ROOT = Path(__file__).resolve().parents[1]
HOST = ROOT / "host"
NOTEBOOK = ROOT / "notebooks" / "5_pynq_inference.ipynb"
SUMS = "SHA256SUMS"
#: what builds the distributions of the driver and of the package
BUILDING = ("pyproject.toml", "wheel.json", "wheel_backend.py")
#: images in a package, unless asked otherwise
IMAGES = 32


def host_import() -> None:
    """Make `bhvit_host` importable here: it is a distribution of its own."""
    if str(HOST) not in sys.path:
        sys.path.append(str(HOST))


def deploy(build: Path, out: Path, *, data: str | None = None, images: int = IMAGES, bitfile: Path | None = None,
           board: str | None = None, archive: bool = False, optimize: str = "-O1") -> dict[str, Any]:
    """Write the package of a finished build below `out`.

    Args:
        data: SPEC of the test images, whose logits PyTorch computes now; without, images that the build has logits of.
        images: at most so many. bitfile: .bit with the .hwh beside it (default: that of `bhvit bitstream`, if there is
            one). board: of which board, where there are several. archive: also write NAME.zip. optimize: g++ level of
            the simulator.
    Returns:
        {"package", "zip", "images", "bitfile", "build_hash"}.
    Raises:
        UserError: no finished build, a bitfile without hwh, a part without a processor.
    """
    from bhvit.finn_flow.build_folder import load_build, lock

    folder, config = load_build(build)
    with lock(folder, shared=True):
        return _deploy(folder, config, out, data, images, bitfile, board, archive, optimize)


def _deploy(folder: Path, config: dict[str, Any], out: Path, data: str | None, images: int, bitfile: Path | None,
            board: str | None, archive: bool, optimize: str) -> dict[str, Any]:
    from bhvit.finn_flow.package.settings import settings
    from bhvit.finn_flow.stitch import Design

    design = Design.load(folder / "stitched_ip")
    bit, by_board = _bitfile(folder, bitfile, board)
    config = {**config, **by_board}
    reference = _reference(folder, data, images)
    names = reference.pop("class_names", None)
    stem = Path(config["model"]).stem
    values = settings(design, config, name=stem, classes=reference["logits"].shape[1],
                      class_names=None if names is None else [str(n) for n in names],
                      bitfile=None if bit is None else f"bitfile/{bit.name}", simulation="simulation/simulated.bit")
    name = re.sub(r"[^a-z0-9_]+", "_", f"{stem}_{values['board']}".lower()) + ("" if bit else "_nobitfile")
    target = Path(out) / name
    partial = target.with_name(target.name + ".partial")
    if target.exists() and not (target / "overlay" / "settings.json").is_file():
        raise UserError("The output holds something else.", target, do="name another folder, or remove it")
    shutil.rmtree(partial, ignore_errors=True)
    overlay = partial / "overlay"
    overlay.mkdir(parents=True)
    _write_json(overlay / "settings.json", values)
    (overlay / "__init__.py").write_text('"""A deployed accelerator; see settings.json and the README."""\n')
    _simulation(folder, design, values, overlay / "simulation", config["jobs"], optimize)
    if bit is not None:
        (overlay / "bitfile").mkdir()
        for f in (bit, bit.with_suffix(".hwh")):
            shutil.copyfile(f, overlay / "bitfile" / f.name)
    if values["constants"]:
        (overlay / "constants").mkdir()
        for entry in filter(None, (values["constants"]["load"], *values["constants"]["weights"])):
            shutil.copyfile(design.memories / Path(entry["file"]).name, overlay / entry["file"])
    _data(overlay / "data", reference)
    (overlay / "notebooks").mkdir()
    shutil.copyfile(NOTEBOOK, overlay / "notebooks" / NOTEBOOK.name)
    (overlay / "notebooks" / "__init__.py").write_text('"""Notebooks for `pynq get-notebooks`."""\n')
    _write_json(overlay / "provenance.json", _provenance(folder, values, reference["source"], bit))
    _frame(partial, values, name, len(reference["images"]), bit)
    _sums(overlay, skip="notebooks/")  # Jupyter saves them by itself
    _sums(partial, skip="overlay/", also=f"overlay/{SUMS}")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    packed = _zip(target) if archive else None
    return {"package": str(target), "zip": None if packed is None else str(packed), "images": len(reference["images"]),
            "source": reference["source"], "bitfile": None if bit is None else str(bit),
            "build_hash": values["build_hash"]}


def _bitfile(folder: Path, given: Path | None, board: str | None) -> tuple[Path | None, dict[str, Any]]:
    """The bitfile, and what the settings must say because of it: board, part and clock of `bhvit bitstream`."""
    made = {}
    for f in sorted((folder / "report").glob("bitstream_*.json")):
        r = json.loads(f.read_text())
        if (folder / r["bitfile"]).with_suffix(".hwh").is_file():  # boards with a processor
            made[r["board"]] = r
    if given is None and (board or made):
        if board is None and len(made) > 1:
            raise UserError("The build has bitfiles for several boards.", folder, ", ".join(made),
                            "choose one: --board NAME")
        found = made.get(board or next(iter(made)))
        if found is None:
            raise UserError(f"The build has no bitfile for the board `{board}`.", folder,
                            f"there are: {', '.join(made) or 'none'}",
                            f"run `bhvit bitstream {folder} --board {board}`")
        if found["build_hash"] != build_hash_of(folder):
            raise UserError("The bitfile is that of an earlier design.", found["bitfile"],
                            "the build was changed after it",
                            f"run `bhvit bitstream {folder} --board {found['board']}`")
        if not found.get("timing_met", True):
            print(f"note: the clock of {found['clock_mhz']:g} MHz is not met by this bit file "
                  f"(slack {found['wns_ns']} ns): results may be wrong", file=sys.stderr)
        return folder / found["bitfile"], {"board": found["board"], "device": found["part"],
                                           "clock_mhz": found["clock_mhz"]}
    if given is None:
        return None, {}
    if not given.is_file():
        raise UserError("The bitfile does not exist.", given, do="give a .bit file, or leave the option away")
    if not given.with_suffix(".hwh").is_file():
        raise UserError("The hwh file is missing.", given.with_suffix(".hwh"), "pynq needs it beside the bitfile",
                        "copy it there: same folder, same name")
    return given, {}


def build_hash_of(folder: Path) -> str:
    """Build hash of a build's design."""
    from bhvit.finn_flow.shell.design import build_hash
    from bhvit.finn_flow.stitch import Design

    return build_hash(Design.load(folder / "stitched_ip"))


def _reference(folder: Path, data: str | None, images: int) -> dict[str, Any]:
    """Images, integer logits, labels where known: from PyTorch now, or what the build has stored."""
    from bhvit.finn_flow.cosim import run_reference

    if data is not None:
        file = folder / "report" / f"reference_deploy_{hashlib.sha256(data.encode()).hexdigest()[:12]}_{images}.npz"
        run_reference(folder / "model", data, images, file)
        files, source = [file], f"PyTorch, {data}"
    else:
        files = [folder / "model" / "network.golden.npz", *sorted((folder / "report").glob("reference_*.npz"))]
        source = "PyTorch, stored in the build"
    found: dict[str, Any] = {}
    for f in files:
        with np.load(f, allow_pickle=False) as d:
            pixels = d["images"] if "images" in d else d["pixels"]
            if "images" not in found or len(found["images"]) < min(images, len(pixels)):
                found = {"images": pixels[:images], "logits": d["logits"][:images].reshape(len(pixels[:images]), -1)}
                found |= {k: d[k][:images] for k in ("labels",) if k in d}
                found |= {k: d[k] for k in ("class_names",) if k in d}
    return {**found, "source": source}


def _simulation(folder: Path, design, values: dict[str, Any], target: Path, jobs: int, optimize: str) -> None:
    from bhvit.finn_flow.package.settings import simulated_design
    from bhvit.finn_flow.shell.design import ShellParameters
    from bhvit.finn_flow.shell.sim import build_shell_simulator

    host_import()
    from bhvit_host.sim.hwh import write

    about = simulated_design(design, values, machine=platform.machine())
    parameters = ShellParameters.of(design, values["clock_mhz"], axi_bits=values["data_width"])
    exe = build_shell_simulator(design, parameters, folder / "sim", jobs=jobs, optimize=optimize)
    write(target, values, json.dumps(about, indent=1).encode())
    shutil.copy(exe, target / about["simulator"])
    shutil.copytree(design.memories, target / about["memories"], ignore=shutil.ignore_patterns("*.bin"))
    shutil.copyfile(design.folder / "graph.onnx", target / about["golden"])


def _data(target: Path, reference: dict[str, Any]) -> None:
    target.mkdir()
    np.save(target / "input.npy", np.ascontiguousarray(reference["images"], np.uint8))
    np.save(target / "expected_output.npy", np.rint(reference["logits"]).astype(np.int32))
    if "labels" in reference:
        np.save(target / "labels.npy", np.asarray(reference["labels"], np.int64))


def _provenance(folder: Path, values: dict[str, Any], source: str, bit: Path | None) -> dict[str, Any]:
    def read(name: str) -> Any:
        file = folder / "report" / name
        return json.loads(file.read_text()) if file.is_file() else None

    cosim = read("cosim.json") or {}
    keys = ("images", "bit_exact_images", "interval_cycles", "latency_cycles", "source")
    return {"build": read("provenance.json"), "build_hash": values["build_hash"], "test_images": source,
            "simulation": {k: cosim[k] for k in keys} if cosim else None,
            "bitfile": None if bit is None else hashlib.sha256(bit.read_bytes()).hexdigest(),
            "model": hashlib.sha256((folder / "model" / "model.yaml").read_bytes()).hexdigest(),
            "weights": hashlib.sha256((folder / "model" / "weights.safetensors").read_bytes()).hexdigest()}


def _frame(target: Path, values: dict[str, Any], name: str, images: int, bit: Path | None) -> None:
    """What surrounds the overlay: scripts, driver, README, licence, pyproject."""
    source = HOST / "package"
    for script in ("self_test.py", "driver.py", "validate.py"):
        shutil.copyfile(source / script, target / script)
    shutil.copyfile(ROOT / "LICENSE", target / "LICENSE")
    shutil.copytree(HOST / "bhvit_host", target / "driver" / "bhvit_host",
                    ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for file in BUILDING:
        shutil.copyfile(HOST / file, target / "driver" / file)
        shutil.copyfile(HOST / file, target / file)
    driver = json.loads((HOST / "wheel.json").read_text())
    distribution, title = name.replace("_", "-"), f"{values['name']} for {values['board']}"
    _write_json(target / "wheel.json", {
        "name": distribution, "version": driver["version"], "summary": title, "python": driver["python"],
        "requires": [f"{driver['name']}=={driver['version']}"], "packages": {name: "overlay"},
        "entry_points": {"pynq.notebooks": {distribution: f"{name}.notebooks"},
                         "bhvit.packages": {distribution: name}}})
    net = values["network"]
    kept = values["streams"]
    text = {**{k: values[k] for k in ("board", "part", "platform", "clock_mhz", "build_hash")},
            "title": title, "images": images, "distribution": distribution,
            "clock_source": "assumed" if bit is None else "as built",
            "input_shape": " x ".join(map(str, ("N", *kept["input"]["dims"]))),
            "output_text": "the class" if net["output"] == "top1" else
                           f"{net['classes']} integer logits ({kept['output']['dtype']})",
            "evidence": "**No bitfile for a board: this package runs on the simulated device only.** Simulated time is "
                        "no board performance." if bit is None else "With a bitfile for the board.",
            "bitfile_text": "absent: the build was not synthesized" if bit is None
                            else "bitfile and hwh for the board (same stem)",
            "simulation_text": f"On Linux ({platform.machine()}), in a virtual environment of Python 3.10 or 3.11: "
                               "`pip install ./driver .` (it brings pynq), then the same commands. Where pynq finds no "
                               "board, the simulated device takes its place and says so: pynq's own code runs, and "
                               "behind the registers the RTL of DMA, control block and accelerator, simulated by "
                               "Verilator."}
    (target / "README.md").write_text(Template((source / "README.md.in").read_text()).substitute(text))


def _sums(folder: Path, skip: str | None = None, also: str | None = None) -> None:
    """SHA256SUMS of all files in a folder, for `sha256sum -c`; without those below `skip`, except `also`."""
    lines = []
    for f in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = f.relative_to(folder).as_posix()
        if name != SUMS and (skip is None or not name.startswith(skip) or name == also):
            lines.append(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {name}\n")
    (folder / SUMS).write_text("".join(lines))


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n")


def _zip(folder: Path) -> Path:
    """NAME.zip beside the folder; the same content gives the same bytes."""
    target = folder.with_name(folder.name + ".zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as z:
        for f in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo(f"{folder.name}/{f.relative_to(folder).as_posix()}", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if f.stat().st_mode & 0o100 else 0o644) << 16
            z.writestr(info, f.read_bytes())
    return target
