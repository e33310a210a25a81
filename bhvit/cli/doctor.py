"""`bhvit doctor`."""

from __future__ import annotations

import click

from ..tools import findings
from .main import emit, json_option


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """What is installed, what is missing, and what that disables. Exit 2 when something that is needed is missing."""
    found = findings()
    lines = []
    for f in found:
        state = f.version or ("MISSING" if f.needed else "not found (optional)")
        lines.append(f"{f.name:22}{state}")
        if not f.version:
            lines.append(f"{'':22}disables: {f.purpose}; get it: {f.get}")
    missing = [f.name for f in found if f.needed and not f.version]
    lines.append(f"missing: {', '.join(missing)}" if missing else
                 "All that the open flow needs is there. Bitstreams for AMD devices additionally need Vivado.")
    emit({"tools": [vars(f) for f in found], "missing": missing}, as_json, "\n".join(lines))
    return 2 if missing else 0
