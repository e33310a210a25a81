"""Boards: one small YAML file each in configs/board; adding one is adding a file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bhvit.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "board"


class DefaultBuild(BaseModel):
    """What is built for a board when no build is named: a file of configs/build, and images to check it with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    build: str = "bhvit_micro"
    data: str | None = Field(None, description="data SPEC")

    @property
    def file(self) -> Path:
        return FOLDER.parent / "build" / f"{self.build}.yaml"


class Board(BaseModel):
    """A board and the tool chain that makes its bitstreams; ``settings`` are the tool chain's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    toolchain: str
    part: str
    clock_mhz: float = Field(gt=0, le=2000, description="clock unless --clock says another one")
    sources: list[str] = Field(min_length=1, description="where the facts come from")
    default: DefaultBuild = DefaultBuild()
    settings: dict[str, Any] = {}


def names() -> list[str]:
    """Boards that have a file."""
    return sorted(f.stem for f in FOLDER.glob("*.yaml"))


def load_board(name: str | Path) -> Board:
    """A board by its name in configs/board, or by the path of a file of the same form.

    Raises:
        UserError: there is none of that name, or its file is wrong; with the names that exist.
    """
    path = Path(name)
    if path.suffix != ".yaml":
        path = FOLDER / f"{str(name).lower().replace('-', '_')}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(path.stem, names(), n=1)
        raise UserError(f"There is no board `{name}`." + (f" Did you mean `{near[0]}`?" if near else ""), path,
                        do=f"choose one of {', '.join(names())}, or give the path of a board file")
    try:
        data = yaml.safe_load(path.read_text())
        if not isinstance(data, dict):
            raise UserError("The board file is empty or no mapping.", path, do="see configs/board for examples")
        return Board.model_validate({**data, "name": path.stem})
    except yaml.YAMLError as e:
        raise UserError("The board file is no YAML.", path, str(e).replace("\n", " ")) from e
    except ValidationError as e:
        raise wrong_settings(path, e) from e


def wrong_settings(where: object, error: ValidationError) -> UserError:
    """A validation error of a board's entries as a message for users."""
    first = error.errors()[0]
    return UserError("The board file cannot be used.", f"{where}: {'.'.join(map(str, first['loc']))}", first["msg"],
                     "see configs/board for examples")
