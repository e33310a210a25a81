"""The console script as its users see it: exit code, standard output, standard error.

Most runs happen in this process (:func:`run`), those that are killed, interrupted or short of disk in a fork
(:class:`Child`). Builds are of a toy network of five layers: its first two steps are replaced, everything behind them
is the real thing.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from bhvit.cli.main import main
from tests.flow import networks

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks: threads cost more than they bring

#: smallest network with every kind of layer
PICO = {"name": "pico", "image_size": 16, "image_channels": 1, "classes": 3, "stem_patch": 1, "widths": [4, 4, 4, 4],
        "depths": [1, 1, 1, 1], "heads": [1, 1], "groups": 1, "mlp_ratios": [1, 1, 1, 1], "window": 2,
        "pool_padding": 0}


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)

    def says(self, *phrases: str) -> Result:
        """No traceback, and every phrase is in the message."""
        assert "Traceback" not in self.err + self.out and "internal error" not in self.err, self.err
        for p in phrases:
            assert p in self.err, f"`{p}` is not in: {self.err}"
        return self


@pytest.fixture
def run(capsys):
    """run(*arguments) -> Result."""
    def call(*argv) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as e:
            main([str(a) for a in argv])
        out, err = capsys.readouterr()
        return Result(e.value.code, out, err).says()

    return call


class Child:
    """A command in a process of its own, forked so that it starts at once.

    limit: bytes that a file may have in it (a full disk).
    """

    def __init__(self, *argv, limit: int | None = None):
        sys.stdout.flush()
        sys.stderr.flush()
        r, w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:  # the child
            try:
                os.setsid()
                for fd in (1, 2):
                    os.dup2(w, fd)
                sys.stdout = os.fdopen(1, "w", closefd=False)
                sys.stderr = os.fdopen(2, "w", closefd=False)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                if limit is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
                code = 99
                try:
                    main([str(a) for a in argv])
                except SystemExit as e:
                    code = e.code
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        os.close(w)
        self.pipe, self.text = r, ""

    def read(self, until: str | None = None, seconds: float = 60) -> str:
        """What it has printed: up to a text, or all."""
        end = time.monotonic() + seconds
        while until is None or until not in self.text:
            ready, _, _ = select.select([self.pipe], [], [], max(0, end - time.monotonic()))
            assert ready, f"nothing more after {seconds} s: {self.text}"
            data = os.read(self.pipe, 65536).decode()
            if not data:
                break
            self.text += data
        assert until is None or until in self.text, self.text
        return self.text

    def signal(self, number: int) -> None:
        """To it and the tools that it has started."""
        os.killpg(self.pid, number)

    def wait(self) -> Result:
        """The end: exit code, or minus the signal."""
        self.read()
        os.close(self.pipe)
        _, status = os.waitpid(self.pid, 0)
        return Result(os.waitstatus_to_exitcode(status), "", self.text)


@pytest.fixture(scope="session")
def pico(tmp_path_factory):
    """Folder with pico.yaml and its weights."""
    from bhvit.model.config import load_config
    from bhvit.model.random_weights import random_network
    from bhvit.model.weights import save

    folder = tmp_path_factory.mktemp("pico")
    (folder / "pico.yaml").write_text(yaml.safe_dump(PICO))
    cfg = load_config(folder / "pico.yaml")
    save(folder / "pico.safetensors", random_network(cfg, 1).deployed_state(), cfg)
    return folder


def write_model(folder: Path, **changes) -> Path:
    """A model file that differs from pico."""
    f = folder / "model.yaml"
    f.write_text(yaml.safe_dump({**PICO, **changes}))
    return f


# ---- the toy build -------------------------------------------------------------------------------------------------
def toy_export(ctx, _model):
    """Stands in for export and lowering: a network of five hardware layers and its golden tensors."""
    from bhvit.finn_flow import ops

    model = networks.residual(tokens=16, channels=8)
    x = networks.pixels(model, 2).astype(np.uint8)
    y = ops.execute(model, {"pixels": x})["logits"]
    ctx.onnx.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ctx.config.model, ctx.onnx.parent / "model.yaml")
    shutil.copyfile(ctx.config.weights.file, ctx.onnx.parent / "weights.safetensors")
    with ctx.onnx.with_suffix(".golden.npz").open("wb") as f:
        np.savez(f, pixels=x, logits=y)
    return ops.to_integers(model)


def fixed_code(_part):
    """Digest of the sources: these tests hold while somebody edits them."""
    return "code"


@pytest.fixture(scope="session")
def toy_steps():
    from bhvit.finn_flow import build as b

    return (b.Step("step_toy_export", toy_export, ("model", "weights"), ("model",), code="model"), *b.STEPS[2:])


@pytest.fixture
def of_toy(monkeypatch, toy_steps):
    """`bhvit build` runs the toy's steps."""
    from bhvit.finn_flow import build as b

    monkeypatch.setattr("bhvit.finn_flow.build_folder.STEPS", toy_steps)
    monkeypatch.setitem(b.build.__kwdefaults__, "steps", toy_steps)
    monkeypatch.setattr("bhvit.finn_flow.build_key.code_digest", fixed_code)


@pytest.fixture
def toy(of_toy, pico, tmp_path):
    """A build file of the toy network."""
    return build_file(tmp_path, pico)


def build_file(folder: Path, pico: Path) -> Path:
    f = folder / "toy.yaml"
    f.write_text(yaml.safe_dump({"model": str(pico / "pico.yaml"), "weights": {"file": str(pico / "pico.safetensors")},
                                 "board": "ZCU104", "clock_mhz": 200, "target_cycles": 100}))
    return f


@pytest.fixture(scope="session")
def finished(tmp_path_factory, toy_steps, pico):
    """A finished toy build, (folder, digests of the design); copy the folder before changing it."""
    from bhvit.finn_flow import build as b
    from bhvit.finn_flow.config import load_config

    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as m:
        m.setenv("BHVIT_QUIET", "1")
        m.setattr("bhvit.finn_flow.build_key.code_digest", fixed_code)
        b.build(load_config(build_file(folder, pico)), folder / "out", steps=toy_steps)
    return folder / "out", design(folder / "out")


def design(folder: Path) -> dict[str, str]:
    """Digests of the design and of the hardware configuration."""
    files = [*sorted((folder / "stitched_ip").rglob("*")), folder / "report" / "final_hw_config.json"]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()}


@pytest.fixture
def built(of_toy, finished, tmp_path):
    """A copy of the finished build."""
    shutil.copytree(finished[0], tmp_path / "out", symlinks=True)
    return tmp_path / "out"


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """Images and logits of the toy."""
    from bhvit.finn_flow import ops

    model = networks.residual(tokens=16, channels=8)
    x = networks.pixels(model, 4, seed=9).astype(np.uint8)
    f = tmp_path_factory.mktemp("ref") / "ref.npz"
    np.savez(f, images=x, logits=ops.execute(model, {"pixels": x})["logits"].reshape(4, -1))
    return f
