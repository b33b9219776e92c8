"""The command ``proactor-echo doctor``."""

from __future__ import annotations

import json
from typing import Final

import click

from proactor_echo.cli.doctor.rows import Row, Verdict
from proactor_echo.cli.output import print_line, styled

__all__ = ["doctor", "examine"]

_COLOURS: Final = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.BAD: "red"}
#: The longest name of a row.
_NAME_WIDTH: Final = 15


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON, with the numbers that were found.")
def doctor(as_json: bool) -> None:
    """Look at this machine and this Python as a server would meet them.

    The exit status is 1 if something will not work or will end early, and 0
    if not.
    """
    rows = examine()
    bad = sum(row.verdict == Verdict.BAD for row in rows)
    if as_json:
        print_line(json.dumps({"ok": not bad, "rows": [row.as_dict() for row in rows]}, indent=2))
    else:
        for row in rows:
            print_line(
                f"{row.name:<{_NAME_WIDTH}}  {styled(f'{row.verdict:<4}', fg=_COLOURS[row.verdict])}  {row.detail}"
            )
    if bad:
        raise click.exceptions.Exit(1)


def examine() -> list[Row]:
    """Return a row for everything that was looked at."""
    # Only this command needs them, and the others should not wait for them to load.
    from proactor_echo.cli.doctor.python_rows import python_rows
    from proactor_echo.cli.doctor.system_rows import system_rows
    from proactor_echo.cli.doctor.windows_rows import windows_rows

    return [*python_rows(), *system_rows(), *windows_rows()]
