"""The deployment package of a toy build: what `bhvit deploy` writes, installed and run as a user would."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bhvit.deployment import deploy
from bhvit.errors import UserError


def test_what_is_in_it(package):
    assert package.name == "pico_zcu104_nobitfile"
    names = {f.relative_to(package).as_posix() for f in package.rglob("*") if f.is_file()}
    assert names >= {"README.md", "LICENSE", "pyproject.toml", "SHA256SUMS", "self_test.py", "driver.py", "validate.py",
                     "driver/pyproject.toml", "driver/bhvit_host/driver.py", "overlay/settings.json",
                     "overlay/provenance.json", "overlay/SHA256SUMS", "overlay/simulation/accelerator",
                     "overlay/simulation/simulated.bit", "overlay/simulation/simulated.hwh", "overlay/data/input.npy",
                     "overlay/data/expected_output.npy", "overlay/data/labels.npy",
                     "overlay/notebooks/5_pynq_inference.ipynb"}
    listed = {line.split("  ", 1)[1] for line in (package / "SHA256SUMS").read_text().splitlines()}
    inner = {"overlay/" + line.split("  ", 1)[1] for line in (package / "overlay/SHA256SUMS").read_text().splitlines()}
    notebooks = {n for n in names if n.startswith("overlay/notebooks/")}  # Jupyter saves them by itself
    assert listed | inner | notebooks | {"SHA256SUMS"} == names and not listed & inner and not inner & notebooks
    assert not [n for n in names if "__pycache__" in n]
    r = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=package)
    assert r.returncode == 0
    readme = (package / "README.md").read_text()
    assert "$" not in readme and "No bitfile" in readme and "24, with the outputs that PyTorch computed" in readme
    p = json.loads((package / "overlay/provenance.json").read_text())
    assert p["build"]["backend"] == "open" and len(p["weights"]) == 64 and p["bitfile"] is None
    s = json.loads((package / "overlay/settings.json").read_text())
    assert s["platform"] == "zynq-ultrascale" and s["clock_mhz"] == 200 and s["bitfile"] is None
    assert len(s["build_hash"]) == 32 and s["build_hash"] == p["build_hash"]


def test_the_zip_is_the_folder(package, tmp_path):
    with zipfile.ZipFile(package.with_name(package.name + ".zip")) as z:
        z.extractall(tmp_path)
        infos = {i.filename: i.external_attr >> 16 for i in z.infolist()}
    made = {f.relative_to(tmp_path) for f in tmp_path.rglob("*") if f.is_file()}
    assert made == {f.relative_to(package.parent) for f in package.rglob("*") if f.is_file()}
    assert all((tmp_path / f).read_bytes() == (package.parent / f).read_bytes() for f in made)
    assert infos[f"{package.name}/overlay/simulation/accelerator"] == 0o755


@pytest.fixture(scope="session")
def installed(package, host_python, tmp_path_factory) -> Path:
    """A fresh virtual environment with the package and its driver installed by pip, as its README says. What they
    need (pynq, numpy, Pillow) is taken from the host environment, so that nothing is downloaded."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([str(host_python), "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    site = subprocess.run([str(host_python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                          capture_output=True, text=True, check=True).stdout.strip()
    python = folder / "env" / "bin" / "python"
    own = next((folder / "env" / "lib").glob("python*/site-packages"))
    (own / "dependencies.pth").write_text(site + "\n")
    shutil.copytree(package, folder / "source")
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    subprocess.run([str(host_python), "-m", "pip", "--python", str(python), "install", "-q", "--no-index",
                    "--disable-pip-version-check", "./driver", "."], cwd=folder / "source", check=True, env=env)
    shutil.rmtree(folder / "source")
    return python


def start(python: Path, *args, cwd: Path) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "BHVIT", "PYTEST"))}
    return subprocess.run([str(python), *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=120,
                          env={**env, "PYTHONWARNINGS": "ignore", "PATH": f"{python.parent}:{env['PATH']}"})


def test_installed_it_passes_its_self_test(installed, tmp_path):
    r = start(installed, "-m", "bhvit_host.selftest", cwd=tmp_path)
    assert r.returncode == 0 and r.stdout.splitlines()[-1] == "PASS", r.stdout + r.stderr
    assert "bit-exact   24/24" in r.stdout and "RTL simulation" in r.stdout
    r = start(installed.parent / "bhvit-validate", "--batchsize", "8", cwd=tmp_path)
    assert r.returncode == 0 and "Final accuracy: 87.5" in r.stdout, r.stdout + r.stderr
    r = start(installed.parent / "bhvit-driver", "--exec_mode", "throughput_test", cwd=tmp_path)
    assert r.returncode == 0 and "not measured: no board" in r.stdout, r.stdout + r.stderr


def test_pynq_gets_its_notebooks(installed, tmp_path):
    pynq = installed.parent / "pynq"  # a board has the command; here it is that of the host environment
    pynq.write_text(f"#!{installed}\nimport sys\nfrom pynq._cli.get_notebooks import main\nsys.argv.pop(1)\nmain()\n")
    pynq.chmod(0o755)
    r = subprocess.run([str(pynq), "get-notebooks", "pico-zcu104-nobitfile", "-o"], cwd=tmp_path, capture_output=True,
                       text=True, timeout=60)
    assert r.returncode == 0, r.stdout + r.stderr
    copied = tmp_path / "pynq-notebooks" / "pico-zcu104-nobitfile" / "5_pynq_inference.ipynb"
    assert json.loads(copied.read_text())["cells"]


def test_the_folder_runs_without_an_installation(package, in_host, tmp_path):
    r = in_host(package / "self_test.py", cwd=tmp_path)
    assert r.returncode == 0 and r.stdout.splitlines()[-1] == "PASS", r.stdout + r.stderr
    assert "package and overlay" in r.stdout
    shutil.copy(package / "overlay" / "data" / "input.npy", tmp_path)
    r = in_host(package / "driver.py", "--batchsize", "24", "--outputfile", "y.npy", cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    assert np.array_equal(np.load(tmp_path / "y.npy"), np.load(package / "overlay" / "data" / "expected_output.npy"))
    r = in_host(package / "validate.py", cwd=tmp_path)
    assert r.returncode == 0 and "Final accuracy" in r.stdout, r.stderr


@pytest.mark.parametrize("file, how", [
    ("overlay/data/expected_output.npy", "flip"), ("overlay/simulation/simulated.bit", "flip"),
    ("driver/bhvit_host/driver.py", "flip"), ("overlay/settings.json", "remove"),
    ("overlay/data/input.npy", "consistent")])
def test_a_corrupted_package_fails(package, in_host, tmp_path, file, how):
    """One flipped bit, a file that is gone, or wrong data with right checksums."""
    copy = tmp_path / "copy"
    shutil.copytree(package, copy)
    target = copy / file
    if how == "remove":
        target.unlink()
    else:
        data = bytearray(target.read_bytes())
        data[-3] ^= 0x10
        target.write_bytes(data)
    if how == "consistent":
        for folder, inside in ((copy / "overlay", "data/input.npy"), (copy, "overlay/SHA256SUMS")):
            lines = [line if not line.endswith("  " + inside) else
                     f"{hashlib.sha256((folder / inside).read_bytes()).hexdigest()}  {inside}"
                     for line in (folder / "SHA256SUMS").read_text().splitlines()]
            (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    r = in_host(copy / "self_test.py", cwd=tmp_path)
    assert r.returncode == 1 and r.stdout.splitlines()[-1] == "FAIL", r.stdout + r.stderr
    assert ("does not compute what PyTorch computes" if how == "consistent" else Path(file).name) in r.stderr


def test_notebook(package, in_host, tmp_path):
    """Notebook 5 runs as it is, in the folder it comes in."""
    script = ("import sys, nbformat, nbclient\n"
              "nb = nbformat.read(sys.argv[1], 4)\n"
              "nbclient.NotebookClient(nb, timeout=60, kernel_name='python3', "
              "resources={'metadata': {'path': sys.argv[2]}}).execute()\n"
              "print(''.join(o.get('text', '') for c in nb.cells for o in c.get('outputs', [])))\n"
              "print('pictures', str(nb.cells).count('image/png'))")
    book = package / "overlay" / "notebooks" / "5_pynq_inference.ipynb"
    r = in_host("-c", script, book, book.parent, cwd=tmp_path, JUPYTER_PREFER_ENV_PATH="1")
    assert r.returncode == 0, r.stderr[-3000:]
    assert "bit-exact 24/24" in r.stdout and "21 of 24 predictions are right" in r.stdout
    assert "RTL simulation" in r.stdout and "pictures 1" in r.stdout and "dma_0" in r.stdout


def test_with_a_bitfile(of_toy, built, tmp_path):
    """A bitfile goes in with its hwh, and the name no longer says that there is none."""
    bit = tmp_path / "top.bit"
    with pytest.raises(UserError, match="bitfile does not exist"):
        deploy(built, tmp_path / "d", bitfile=bit)
    bit.write_bytes(b"bits")
    with pytest.raises(UserError, match="hwh file is missing"):
        deploy(built, tmp_path / "d", bitfile=bit)
    bit.with_suffix(".hwh").write_text("hwh")
    made = deploy(built, tmp_path / "d", bitfile=bit, optimize="-O0")
    folder = Path(made["package"])
    assert folder.name == "pico_zcu104" and made["images"] == 2 and made["zip"] is None
    assert (folder / "overlay/bitfile/top.bit").read_bytes() == b"bits"
    assert json.loads((folder / "overlay/settings.json").read_text())["bitfile"] == "bitfile/top.bit"
    assert "No bitfile" not in (folder / "README.md").read_text()
    result = {"board": "kv260", "part": "xck26-sfvc784-2lv-c", "clock_mhz": 187.5,
              "bitfile": "bitstream/kv260/bhvit.bit", "build_hash": "0" * 32}
    report = built / "report" / "bitstream_kv260.json"
    report.write_text(json.dumps(result))
    target = built / "bitstream" / "kv260"
    target.mkdir(parents=True)
    (target / "bhvit.bit").write_bytes(b"bits of bhvit bitstream")
    (target / "bhvit.hwh").write_text("hwh")
    with pytest.raises(UserError, match="earlier design"):
        deploy(built, tmp_path / "d")
    with pytest.raises(UserError, match="no bitfile for the board `zcu102`"):
        deploy(built, tmp_path / "d", board="zcu102")
    report.write_text(json.dumps({**result, "build_hash": made["build_hash"]}))
    (built / "report" / "bitstream_x.json").write_text(json.dumps({**result, "board": "x"}))
    with pytest.raises(UserError, match="several boards"):
        deploy(built, tmp_path / "d")
    found = Path(deploy(built, tmp_path / "d", board="kv260", optimize="-O0")["package"])
    s = json.loads((found / "overlay/settings.json").read_text())
    assert found.name == "pico_kv260" and (s["clock_mhz"], s["part"]) == (187.5, "xck26-sfvc784-2lv-c")
    assert (found / "overlay" / s["bitfile"]).read_bytes() == b"bits of bhvit bitstream"
    (folder / "overlay" / "settings.json").unlink()
    with pytest.raises(UserError, match="holds something else"):
        deploy(built, tmp_path / "d", bitfile=bit, optimize="-O0")


def test_parts_without_a_processor():
    from bhvit.finn_flow.package.settings import BASES, platform

    assert {platform(p) for p in ("xc7z020clg400-1", "XCZU3EG-SFVA625-1", "xck26-sfvc784")} == set(BASES)
    with pytest.raises(UserError, match="no processor"):
        platform("xc7k325t")


def test_command(of_toy, built, tmp_path, run):
    r = run("deploy", built, "-o", tmp_path, "--json")
    assert r.code == 0 and r.json["images"] == 2 and Path(r.json["package"]).is_dir()
    r = run("deploy", built, "-o", tmp_path)
    assert r.code == 0 and "only 2 test images" in r.out and "no bitfile for a board" in r.out
    run("deploy", tmp_path / "nowhere").says("build folder does not exist")
