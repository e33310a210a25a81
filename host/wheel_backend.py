"""Builds the wheel of the folder that it lies in, with the standard library only (PEP 517).

Boards are often offline, and their setuptools too old for a pyproject.toml: with this, `pip install ./FOLDER` needs
nothing else. wheel.json says what goes in: name, version, summary, python, requires, packages (import name -> folder),
entry_points (group -> name -> value).
"""

import base64
import hashlib
import json
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHEEL = "Wheel-Version: 1.0\nGenerator: bhvit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _about() -> dict:
    return json.loads((HERE / "wheel.json").read_text())


def _stem(about: dict) -> str:
    return f"{about['name'].replace('-', '_')}-{about['version']}"


def _metadata(about: dict) -> dict[str, str]:
    lines = ["Metadata-Version: 2.1", f"Name: {about['name']}", f"Version: {about['version']}",
             f"Summary: {about['summary']}", "License: MIT", f"Requires-Python: {about['python']}",
             *(f"Requires-Dist: {r}" for r in about["requires"])]
    groups = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items())
              for group, entries in about.get("entry_points", {}).items()]
    return {"METADATA": "\n".join(lines) + "\n", "WHEEL": WHEEL, "entry_points.txt": "\n".join(groups)}


def get_requires_for_build_wheel(config_settings=None) -> list:
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None) -> str:
    about = _about()
    folder = Path(metadata_directory) / f"{_stem(about)}.dist-info"
    folder.mkdir()
    for name, text in _metadata(about).items():
        (folder / name).write_text(text)
    return folder.name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None) -> str:
    about = _about()
    stem = _stem(about)
    files = {f"{stem}.dist-info/{name}": text.encode() for name, text in _metadata(about).items()}
    modes = {}
    for package, folder in about["packages"].items():
        for f in sorted(p for p in (HERE / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            name = f"{package.replace('.', '/')}/{f.relative_to(HERE / folder).as_posix()}"
            files[name], modes[name] = f.read_bytes(), f.stat().st_mode
    record = f"{stem}.dist-info/RECORD"
    lines = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    files[record] = "".join([*lines, f"{record},,\n"]).encode()
    target = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / target, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = modes.get(name, 0o100644) << 16
            z.writestr(info, data)
    return target


class UnsupportedOperation(Exception):
    """What PEP 517 has a backend raise for a kind of distribution that it does not make."""


def build_sdist(sdist_directory, config_settings=None) -> str:
    raise UnsupportedOperation("There are no source distributions of the host package: install its folder, or a wheel.")
