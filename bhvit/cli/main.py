"""The command line: `bhvit COMMAND`.

Exit codes: 0 ok, 1 a check failed, 2 bad usage, bad input or a missing tool, 130 interrupted, 70 a defect of this
program. `--json` puts one JSON document on standard output and nothing else, errors included; progress and messages go
to standard error.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import os
import sys
from typing import Any, TextIO

import click

from ..errors import BhvitError, UserError, file_trouble

#: a defect of this program (EX_SOFTWARE)
INTERNAL = 70
INTERRUPTED = 130

#: command -> (module under bhvit.cli, one line of help); modules are imported when used, so `--help` is fast
COMMANDS = {
    "doctor": ("doctor", "What is installed, what is missing, and what that disables."),
    "train": ("model", "Train a network, freeze it to fixed point and fine-tune."),
    "teach": ("training", "Store a teacher's logits on the training images."),
    "ablate": ("training", "Train the rows of a table of the paper."),
    "evaluate": ("model", "Top-1 and top-5 of the deployed network."),
    "count": ("model", "Operations and parameters per layer."),
    "check-golden": ("golden", "The float network against golden files of the authors' network."),
    "shrink-weights": ("weights", "Trainable parameters in a smaller file."),
    "grow-weights": ("weights", "A trained network with more blocks or channels, to train on."),
    "import-checkpoint": ("weights", "A checkpoint of the authors' training code as float weights."),
    "export-checkpoint": ("weights", "Float weights with the authors' parameter names."),
    "deploy-model": ("weights", "Float weights to fixed point: calibration, report, optional fine-tuning."),
    "export": ("model", "Write the QONNX file and its golden tensors."),
    "build": ("flow", "From a build file to a stitched RTL design with estimates."),
    "explore": ("explore", "What a network could be on a device, by formulas: frame rates, effect of each technique."),
    "cosim": ("flow", "Simulate the stitched RTL and compare every output with PyTorch."),
    "shell-sim": ("shell", "Simulate a build with its DMA, from images in memory to logits in memory."),
    "bitstream": ("shell", "Bit file for a board, with timing, resources and power."),
    "serial": ("shell", "Images through the serial port of a board, against PyTorch."),
    "synth": ("flow", "Resources of every distinct layer instance from Yosys."),
    "hls": ("hls", "The layers in Vitis HLS C++: simulation with g++, synthesis and cosimulation with Vitis."),
    "deploy": ("deploy", "Folder and zip for a PYNQ board: bitfile, driver, notebook, self-test, simulated device."),
    "report": ("flow", "Show a build: terminal table, JSON, self-contained HTML."),
    "demo": ("demo", "The whole chain on bhvit_micro: build, simulate, report."),
    "notebooks": ("notebooks", "Run the notebooks without a browser."),
    "bench": ("bench", "Measure: simulation speed, build times, cycles, LUTs per MAC, scale probe."),
    "bench-tiny": ("bench_tiny", "BHViT-tiny from nothing: build, simulation, synthesis, against the limits aimed at."),
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        function = cmd_name.replace("-", "_")
        return getattr(importlib.import_module(f"bhvit.cli.{COMMANDS[cmd_name][0]}"), function)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"There is no command `{args[0]}`." + (f" Did you mean `{near[0]}`?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]},
             epilog="Exit codes: 0 ok, 1 a check failed, 2 bad usage, bad input or a missing tool. BHVIT_QUIET=1: no "
                    "progress.")
@click.version_option(package_name="bhvit")
@click.option("--debug", is_flag=True, help="Show the traceback of errors.")
def cli(debug: bool) -> None:
    """BHViT on FPGAs: train, export, build, simulate bit by bit, report."""


def json_option(f):
    """Adds `--json`: one JSON document on standard output."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")(f)


class _Output:
    """Where results go. With --json libraries that print are sent to standard error, and one document is written."""

    stream: TextIO | None = None
    documents = 0


def emit(data: dict, as_json: bool, text: str = "") -> None:
    """Print the result of a command: JSON, or the text meant for people."""
    if as_json:
        _Output.documents += 1
    click.echo(json.dumps(data, indent=2) if as_json else text, file=_Output.stream)


def main(argv: list[str] | None = None) -> None:
    """Entry point of the console script."""
    argv = sys.argv[1:] if argv is None else argv
    as_json = "--json" in argv and not {"-h", "--help", "--version"} & set(argv)
    _Output.stream, _Output.documents = sys.stdout if as_json else None, 0
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        code = _run(argv, as_json)
    sys.exit(code)


def _run(argv: list[str], as_json: bool) -> int:
    debug = "--debug" in argv or bool(os.environ.get("BHVIT_DEBUG"))
    try:
        code = cli.main(argv, prog_name="bhvit", standalone_mode=False)
        (_Output.stream or sys.stdout).flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as e:
        return e.exit_code
    except click.ClickException as e:
        e.show()
        command = getattr(getattr(e, "ctx", None), "command_path", "bhvit")
        _document({"error": e.format_message(), "where": "command line", "why": None, "do": f"see `{command} --help`",
                   "exit_code": 2}, as_json)
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what is complete stays, so the same command continues where it stopped", err=True)
        _document({"error": "interrupted", "where": None, "why": None, "do": "run the same command again",
                   "exit_code": INTERRUPTED}, as_json)
        return INTERRUPTED
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
        return 0
    except Exception as e:
        if debug:
            raise
        out = next((argv[i + 1] for i, a in enumerate(argv[:-1]) if a in ("-o", "--out")), None)
        return report_error(e, as_json, out)


def user_error(e: BaseException, where: str | None = None) -> BhvitError | None:
    """The error as one that users can act on; None where it is a defect of this program.

    where: the place of an operating-system error that does not name one.
    """
    if isinstance(e, BhvitError):
        return e
    if isinstance(e, OSError):
        return file_trouble(e, where)
    if isinstance(e, MemoryError):
        return UserError("There is not enough memory.", why=str(e) or None,
                         do="close other programs, use fewer images, or a machine with more memory")
    if isinstance(e, RuntimeError) and "DefaultCPUAllocator" in str(e):  # torch
        return UserError("There is not enough memory.", why=str(e).split("\n")[0], do="use fewer images at a time")
    return None


def report_error(e: Exception, as_json: bool, where: str | None = None) -> int:
    """One readable block on standard error, with --json also a document on standard output. Returns the exit code."""
    known = user_error(e, where)
    if known is not None:
        click.echo(f"error: {known}", err=True)
        _document(known.as_dict(), as_json)
        return known.exit_code
    text = f"{type(e).__name__}: {e}"
    why, do = "this is a defect of bhvit, not of your input", "run again with --debug and report the traceback"
    click.echo(f"internal error: {text}\n  why: {why}\n  what to do: {do}", err=True)
    _document({"error": f"internal error: {text}", "where": None, "why": why, "do": do, "exit_code": INTERNAL}, as_json)
    return INTERNAL


def _document(data: dict[str, Any], as_json: bool) -> None:
    """The JSON of an error, unless the command has written its result already (a failed check)."""
    if as_json and not _Output.documents:
        with contextlib.suppress(OSError):
            emit(data, True)


if __name__ == "__main__":  # python -m: commands import this module under its own name, with its own output
    importlib.import_module("bhvit.cli.main").main()
