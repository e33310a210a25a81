"""Run HLS projects: step after step, with a time limit, and one report of everything."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from bhvit.progress import Progress

from . import reports
from .project import Project
from .rtl import RESULT
from .tools import Tool

#: verdicts of a step
PASS, FAIL, SKIPPED = "PASS", "FAIL", "not run"
_MARK = re.compile(r"^BHVIT_STEP (\w+) (PASS|FAIL)(?: (.*))?$", re.M)
COSIM_PASS = "C/RTL co-simulation finished: PASS"


class _Running:
    """Processes that are at work, so that an interrupt ends all of them with their children."""

    def __init__(self) -> None:
        self.lock, self.processes, self.stopped = threading.Lock(), set(), False

    def command(self, argv: list[str], cwd: Path, log: Path, timeout: float) -> tuple[int | None, str]:
        """Exit code (None: over the time limit) and output, which is also kept in ``log``."""
        with log.open("w") as out:
            with self.lock:
                if self.stopped:
                    raise KeyboardInterrupt
                p = subprocess.Popen(argv, cwd=cwd, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                     start_new_session=True)
                self.processes.add(p)
            try:
                code: int | None = p.wait(timeout)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                self.end(p)
        return code, log.read_text(errors="replace")

    def end(self, p: subprocess.Popen) -> None:
        """End a process with everything that it started."""
        with suppress(ProcessLookupError):
            os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        self.processes.discard(p)

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for p in list(self.processes):
                with suppress(ProcessLookupError):
                    os.killpg(p.pid, signal.SIGKILL)


def _step_results(project: Project, steps: Sequence[str], code: int | None, log: str, minutes: float) -> dict[str, str]:
    """Verdict of each step that a command took: PASS, or a sentence that says what went wrong."""
    marks = {m[1]: (m[2], m[3] or "") for m in _MARK.finditer(log)}
    found: dict[str, str] = {}
    for step in steps:
        if any(v != PASS for v in found.values()):
            found[step] = SKIPPED
            continue
        state, reason = marks.get(step, ("", ""))
        part = re.split(r"^BHVIT_STEP", log.split(f"BHVIT_STEP {step} BEGIN")[-1], flags=re.M)[0]
        complaint = reports.verdict(part, project.name) if step in ("csim", "cosim") else None
        errors = [x for x in part.splitlines() if x.startswith("ERROR")]
        if marks.get("setup", (PASS,))[0] == FAIL:
            found[step] = f"the project could not be set up: {marks['setup'][1]}"
        elif state == FAIL:
            found[step] = complaint or (errors[0] if errors else reason or "the tool reported an error")
        elif state != PASS and code is None:
            found[step] = f"not finished after {minutes:g} minutes"
        elif state != PASS and (code or marks):
            found[step] = complaint or (errors[0] if errors else f"the tool ended with exit code {code}")
        else:
            found[step] = complaint or PASS
    return found


def _figures(project: Project, steps: dict[str, str], logs: dict[str, str]) -> dict[str, Any]:
    """Figures of the reports of the steps that passed; a report that is missing turns the step into a failure."""
    out: dict[str, Any] = {}
    for step, folder, suffix, parse in (("csynth", "syn", "csynth.xml", reports.csynth),
                                        ("cosim", "sim", "cosim.rpt", reports.cosim)):
        if steps.get(step) != PASS:
            continue
        try:
            out[step] = parse(reports.find(project.folder, f"{folder}/report/{project.name}_{suffix}"))
        except reports.ReportError as e:
            steps[step] = f"{e.what} ({e.where})"
    if "cosim" in out and (out["cosim"]["status"] != "Pass" or COSIM_PASS not in logs.get("cosim", "")):
        steps["cosim"] = f"the report says {out['cosim']['status']}, the log does not say `{COSIM_PASS}`" \
            if out["cosim"]["status"] == "Pass" else f"the report says {out['cosim']['status']}"
    return out


def _run_project(project: Project, tool: Tool, running: _Running, minutes: float, say: Callable[[str], None]) -> dict:
    digest = project.write()
    kept = project.folder / RESULT
    with suppress(OSError, ValueError):
        result = json.loads(kept.read_text())
        if (result.pop("digest"), result["tool"], result["ok"]) == (digest, tool.name, True):
            say(f"{project.name}: complete, kept")
            return result
    begun, steps, logs = time.monotonic(), dict.fromkeys(project.target.steps, SKIPPED), {}
    for taken, argv in tool.commands(project.target.steps):
        say(f"{project.name}: {', '.join(taken)}")
        code, log = running.command(argv, project.folder, project.folder / f"{'_'.join(taken)}.log", minutes * 60)
        if running.stopped:
            raise KeyboardInterrupt
        logs |= dict.fromkeys(taken, log)
        steps |= _step_results(project, taken, code, log, minutes)
        if any(v not in (PASS, SKIPPED) for v in steps.values()):
            break
    figures = _figures(project, steps, logs)
    layer = project.case.layer
    ok = all(v == PASS for v in steps.values())
    result = {"stem": layer.stem, "attributes": layer.model_dump(), "ok": ok, "tool": tool.name,
              "steps": {k: v if v in (PASS, SKIPPED) else FAIL for k, v in steps.items()},
              "why": next((f"{k}: {v}" for k, v in steps.items() if v not in (PASS, SKIPPED)), None),
              "seconds": round(time.monotonic() - begun, 1), "folder": str(project.folder), **_flat(figures)}
    kept.write_text(json.dumps({**result, "digest": digest}, indent=1) + "\n")
    return result


def _flat(figures: dict[str, Any]) -> dict[str, Any]:
    """Resources under the keys of report/synth.json; estimates and simulated cycles stay apart."""
    synthesis, measured = figures.get("csynth", {}), figures.get("cosim", {})
    out = {k: synthesis[k] for k in (*reports.RESOURCES, "clock_ns", "version") if k in synthesis}
    for name, data in (("estimate", synthesis), ("cosim", measured)):
        if data:
            out[name] = {"latency": data["latency"], "interval": data["interval"]}
    return out


def run(projects: Sequence[Project], tool: Tool, report: Path, *, jobs: int = 1, minutes: float = 60,
        quiet: bool | None = None) -> dict[str, Any]:
    """Write and run the projects, and write the report, also when it is interrupted.

    A project that passed before with the same files and tool is kept.

    Args:
        report: the JSON file. jobs: projects at a time. minutes: limit of one command.
    Returns:
        {"ok", "tool", "version", "part", "clock_mhz", "layers": {name: {"stem", "attributes", "ok", "steps": {step:
        PASS, FAIL or "not run"}, "why", "LUT", "FF", "BRAM_18K", "URAM", "DSP", "clock_ns", "estimate", "cosim":
        {latency, interval}, ...}}, "complete", "source", "note"}.
    """
    running, results = _Running(), {}
    with Progress("HLS projects", len(projects), "projects", quiet=quiet) as bar:
        lock = threading.Lock()

        def one(project: Project) -> None:
            try:
                found = _run_project(project, tool, running, minutes, bar.say)
            except KeyboardInterrupt:
                return
            with lock:
                results[project.name] = found
                bar.advance(info=f"{project.name} {PASS if found['ok'] else FAIL}")

        pool = ThreadPoolExecutor(jobs)
        try:
            futures = [pool.submit(one, p) for p in projects]
            for f in futures:
                f.result()
        except BaseException:
            running.stop()
            for f in futures:
                f.cancel()
            raise
        finally:
            pool.shutdown()
            data = _report(projects, results, tool)
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(json.dumps(data, indent=2) + "\n")
    return data


def _report(projects: Sequence[Project], results: dict[str, dict], tool: Tool) -> dict[str, Any]:
    done = {p.name: results[p.name] for p in projects if p.name in results}
    complete = len(done) == len(projects)
    versions = {r["version"] for r in done.values() if r.get("version")}
    return {"ok": complete and all(r["ok"] for r in done.values()), "tool": tool.name,
            "version": ", ".join(sorted(versions)) or None, "part": projects[0].target.part,
            "clock_mhz": projects[0].target.clock_mhz, "layers": done, "complete": complete, "source": "Vitis HLS",
            "note": "resources and clock: estimates of HLS synthesis, not placed and routed"}


def table(data: dict[str, Any]) -> str:
    """The report for the terminal."""
    def show(x: Any) -> str:
        return "-" if x is None else f"{x:,}" if isinstance(x, (int, float)) else str(x)

    def span(r: dict, kind: str, what: str) -> str:
        values = [v for v in (r.get(kind, {}).get(what, {}).get(k) for k in ("min", "max")) if v is not None]
        return "-" if not values else show(values[0]) if len(set(values)) == 1 else "..".join(map(show, values))

    head = ["instance", *next(iter(data["layers"].values()), {"steps": {}})["steps"], *reports.RESOURCES, "clock ns",
            "latency", "interval", "cosim latency", "cosim interval"]
    rows = [[name, *r["steps"].values(), *(show(r.get(k)) for k in reports.RESOURCES),
             show(r.get("clock_ns", {}).get("estimated")), *(span(r, k, w) for k in ("estimate", "cosim")
                                                             for w in ("latency", "interval"))]
            for name, r in data["layers"].items()]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths)))
             for row in (head, *rows)]
    failed = [f"{n}: {r['why']}" for n, r in data["layers"].items() if not r["ok"]]
    tool = f"{data['tool']} {data['version'] or ''}".strip()
    return "\n".join([*lines, *failed, f"{len(rows)} instances, {len(failed)} failed; {tool}, {data['part']}, "
                                       f"{data['clock_mhz']:g} MHz"])
