"""Finding a deployment package and checking that it is whole."""

from __future__ import annotations

import hashlib
import os
from importlib import metadata, util
from pathlib import Path

from .errors import HostError

GROUP = "bhvit.packages"
SUMS = "SHA256SUMS"


def find(given: str | os.PathLike | None = None) -> Path:
    """The folder with settings.json: a package's folder as given, by $BHVIT_PACKAGE, above the working folder, or
    installed with pip. Raises HostError when there is none, or several are installed."""
    named = given or os.environ.get("BHVIT_PACKAGE")
    if named:
        for folder in (Path(named), Path(named) / "overlay"):
            if (folder / "settings.json").is_file():
                return folder
        raise HostError("There is no deployment package.", named, "no settings.json",
                        "give the folder that `bhvit deploy` has written")
    here = Path.cwd()
    for folder in (here, *here.parents):
        for place in (folder, folder / "overlay"):
            if (place / "settings.json").is_file() and (place / SUMS).is_file():
                return place
    installed = sorted({e.value for e in metadata.entry_points(group=GROUP)})
    if len(installed) == 1:
        return Path(util.find_spec(installed[0]).origin).parent
    if installed:
        raise HostError("Several packages are installed.", ", ".join(installed),
                        do="choose one: set BHVIT_PACKAGE to its folder")
    raise HostError("There is no deployment package.", "working folder, BHVIT_PACKAGE, installed packages",
                    do="go to the folder that `bhvit deploy` has written, or install it with pip")


def damaged(folder: Path) -> list[str]:
    """Names of files that are missing or whose content is not that of the checksum list in a folder."""
    try:
        lines = (Path(folder) / SUMS).read_text().splitlines()
    except OSError as e:
        raise HostError("The checksums cannot be read.", Path(folder) / SUMS, e.strerror,
                        "copy the package again") from e
    bad = []
    for line in lines:
        digest, _, name = line.partition("  ")
        file = Path(folder) / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            bad.append(name)
    if not lines:
        bad.append(SUMS)
    return bad
