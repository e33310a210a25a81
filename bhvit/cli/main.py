"""The command line: `bhvit COMMAND`.

Exit codes: 0 ok, 1 a check failed, 2 bad usage, bad input or a missing tool. `--json` puts one JSON document
on standard output and nothing else; progress and messages go to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

import click

from ..errors import BhvitError

#: command -> (module under bhvit.cli, one line of help); modules are imported when used, so `--help` is fast
COMMANDS = {
    "doctor": ("doctor", "What is installed, what is missing, and what that disables."),
    "train": ("model", "Train a network, freeze it to fixed point and fine-tune."),
    "evaluate": ("model", "Top-1 and top-5 of the deployed network."),
    "count": ("model", "Operations and parameters per layer."),
    "export": ("model", "Write the QONNX file and its golden tensors."),
    "build": ("flow", "From a build file to a stitched RTL design with estimates."),
    "cosim": ("flow", "Simulate the stitched RTL and compare every output with PyTorch."),
    "synth": ("flow", "Resources of every distinct layer instance from Yosys."),
    "report": ("flow", "Show a build: terminal table, JSON, self-contained HTML."),
    "demo": ("demo", "The whole chain on bhvit_micro: build, simulate, report."),
    "bench": ("bench", "Measure: simulation speed, build times, cycles, LUTs per MAC, scale probe."),
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"bhvit.cli.{COMMANDS[cmd_name][0]}"), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bhvit")
@click.option("--debug", is_flag=True, help="Show the traceback of errors.")
def cli(debug: bool) -> None:
    """BHViT on FPGAs: train, export, build, simulate bit by bit, report."""


def json_option(f):
    """Adds `--json`: one JSON document on standard output."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")(f)


def emit(data: dict, as_json: bool, text: str = "") -> None:
    """Print the result of a command: JSON, or the text meant for people."""
    click.echo(json.dumps(data, indent=2) if as_json else text)


def main(argv: list[str] | None = None) -> None:
    """Entry point of the console script."""
    argv = sys.argv[1:] if argv is None else argv
    debug = "--debug" in argv or bool(os.environ.get("BHVIT_DEBUG"))
    try:
        code = cli.main(argv, prog_name="bhvit", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.ClickException as e:
        e.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as e:
        if debug:
            raise
        report_error(e, "--json" in argv)
        sys.exit(e.exit_code if isinstance(e, BhvitError) else 2 if is_user_error(e) else 70)


def is_user_error(e: Exception) -> bool:
    """Errors whose message is written for users although their class lives in a package without the CLI's base."""
    return (isinstance(e, ValueError) and type(e) is not ValueError) or isinstance(e, FileNotFoundError | OSError)


def report_error(e: Exception, as_json: bool) -> None:
    """One readable block on standard error; with --json also the same as JSON on standard output."""
    if as_json:
        data = e.as_dict() if isinstance(e, BhvitError) else {"error": str(e), "exit_code": 2}
        click.echo(json.dumps(data, indent=2))
    if isinstance(e, BhvitError) or is_user_error(e):
        click.echo(f"error: {e}", err=True)
    else:
        click.echo(f"internal error: {type(e).__name__}: {e}\n  what to do: run again with --debug and report the "
                   "traceback", err=True)


if __name__ == "__main__":
    main()
