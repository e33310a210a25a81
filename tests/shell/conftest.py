"""Simulators of the toy in its shell, compiled once per session."""

from __future__ import annotations

import pytest

from bhvit.finn_flow.shell.design import ShellParameters
from bhvit.finn_flow.shell.sim import ShellSim, build_shell_simulator

from .toy import Toy


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """compiled(toy, **shell parameters) -> (executable, folder of memory images, parameters)."""
    made = {}

    def make(toy: Toy, **values):
        key = (toy, *sorted(values.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("toy")
            design = toy.design(folder / "design")
            p = ShellParameters.of(design, 100.0, **values)
            made[key] = build_shell_simulator(design, p, folder / "sim", optimize="-O0"), design.memories, p
        return made[key]

    return make


@pytest.fixture
def toy_sim(compiled):
    """A running toy with the default parameters: (simulation, toy, shell parameters)."""
    exe, memories, p = compiled(Toy())
    with ShellSim(exe, memories, 1) as sim:
        yield sim, Toy(), p
