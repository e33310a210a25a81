"""The CI description: valid YAML, jobs with runners and steps, and only make targets that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
JOBS = WORKFLOW["jobs"]


def runs(job: str) -> list[str]:
    return [s["run"] for s in JOBS[job]["steps"] if "run" in s]


def test_jobs():
    assert sorted(JOBS) == ["open", "vitis"]
    assert set(WORKFLOW[True]) >= {"push", "pull_request"}  # YAML 1.1 reads `on` as true
    for job in JOBS.values():
        assert job["timeout-minutes"] > 0 and job["steps"][0]["uses"].startswith("actions/checkout@")
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), step


def test_open_job_runs_everywhere():
    assert JOBS["open"]["runs-on"].startswith("ubuntu-") and "if" not in JOBS["open"]
    assert {"make lint", "make test", "make test-hls", "make demo"} <= set(runs("open"))


def test_vitis_job_runs_on_its_own_machine_only():
    assert JOBS["vitis"]["runs-on"] == ["self-hosted", "linux", "vitis"]
    assert "pull_request" not in JOBS["vitis"]["if"], "code of strangers does not run on a machine of one's own"
    assert any(r.startswith("make hls-cosim") for r in runs("vitis"))


def test_make_targets_exist():
    targets = {t for job in JOBS for r in runs(job) for t in re.findall(r"^make ([a-z][\w-]*)", r, re.M)}
    assert {"setup", "hls-cosim"} <= targets
    for t in sorted(targets):
        r = subprocess.run(["make", "-n", "-o", ".venv/.installed", t], cwd=ROOT, capture_output=True, text=True)
        assert r.returncode == 0, f"make {t}: {r.stderr}"
