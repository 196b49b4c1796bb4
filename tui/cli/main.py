"""The command line: parses, calls core, prints. Textual is loaded only when the app opens."""

from __future__ import annotations

import difflib
import re
import sys
from importlib import import_module
from typing import Any

import click

from streamscope import __version__
from streamscope.core.errors import StreamscopeError
from streamscope.tui.cli.as_job import end_with_input, job_name
from streamscope.tui.cli.imports import without_collection
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, set_options
from streamscope.tui.cli.streams import is_stdout_broken

COMMANDS = {
    "tui": "streamscope.tui.commands.app",
    "models": "streamscope.tui.commands.models",
    "compute": "streamscope.tui.commands.measure.compute",
    "scan": "streamscope.tui.commands.measure.scan",
    "table": "streamscope.tui.commands.table",
    "compare": "streamscope.tui.commands.measure.compare",
    "fz": "streamscope.tui.commands.fz",
    "ablate": "streamscope.tui.commands.measure.ablate",
    "curves": "streamscope.tui.commands.measure.curves",
    "evidence": "streamscope.tui.commands.evidence",
    "photographs": "streamscope.tui.commands.measure.photographs",
    "nulls": "streamscope.tui.commands.measure.nulls",
    "marks": "streamscope.tui.commands.marks",
    "bundle": "streamscope.tui.commands.bundle",
    "cache": "streamscope.tui.commands.cache",
    "report": "streamscope.tui.commands.report",
    "demo-images": "streamscope.tui.commands.demo_images",
    "bench": "streamscope.tui.commands.bench",
}
"""Each command's module, which has it as `command`; loaded when it is called, so that `--help` is quick."""


_LONG_NUMBER = re.compile(r"\d{64,}")
"""What nobody typed on purpose is not read either."""


class _Lazy(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            with without_collection():
                command: click.Command = import_module(COMMANDS[name]).command
            return command
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        # Only of what was typed, not of what a parser of options asks about.
        if near and not context.resilient_parsing:
            raise click.UsageError(f"No such command {name!r} (did you mean {near[0]!r}?)", context)
        return None


@click.group(cls=_Lazy, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="streamscope")
@click.option("--graphics", metavar="MODE", help="How images are drawn: auto, kitty, sixel, half or off.")
@set_options
def cli(given: Given, graphics: str | None) -> None:
    """See what every channel of a ResNet's residual stream does: skip, overwrite or mix.

    Without a command the app opens. To try it without downloading anything: streamscope --model demo
    """
    context = click.get_current_context()
    context.obj = given
    if context.invoked_subcommand is None:
        with without_collection():
            from streamscope.tui.commands.app import open_app

        open_app(given, graphics)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns the exit code: 0, 2 for a usage error, 1 for anything else."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    if job_name():
        end_with_input()
    try:
        result: Any = cli.main(given, prog_name="streamscope", standalone_mode=False)
        # What is still held back fails here, where it can be said, or never.
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        _say(f"{error.format_message().rstrip('.')}; see '{_help_of(error)}'")
        return 2
    except click.ClickException as error:
        _say(error.format_message())
        return error.exit_code
    except StreamscopeError as error:
        # Wording an error takes the store's modules, which no other start of a command needs.
        from streamscope.tui.advice import worded

        if debug:
            raise
        _say(worded(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return 1
    except BrokenPipeError:
        # The reader of a pipe (head, say) went away: not worth a word. Closing stdout keeps Python from complaining.
        sys.stderr.close()
        return 1
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and is_stdout_broken():
            _say(f"cannot write the output: {error.strerror or error}")
            return 1
        _say(f"unexpected {type(error).__name__}: {error}; run it again with --debug to see where")
        return 1


def _help_of(error: click.UsageError) -> str:
    return f"{error.ctx.command_path if error.ctx else 'streamscope'} --help"


def _say(line: str) -> None:
    text = _LONG_NUMBER.sub(lambda match: f"{match[0][:20]}...", " ".join(line.split()))
    say(f"streamscope: {text}", err=True)
