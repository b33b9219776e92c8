"""docs/cli.md names everything that the command line knows, and nothing that it does not."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

import proactor_echo as pe
from proactor_echo.cli import main
from proactor_echo.cli.framing import FRAMINGS

PAGE = (Path(__file__).resolve().parents[2] / "docs/cli.md").read_text("utf-8")
README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")

COMMANDS = dict(main.commands) | {
    f"{name} {inner}": command
    for name, group in main.commands.items()
    if isinstance(group, click.Group)
    for inner, command in group.commands.items()
}
OPTIONS = {
    name: {text for option in command.params if isinstance(option, click.Option) for text in option.opts}
    for name, command in COMMANDS.items()
}
EVERYWHERE = {"--help", "--version"}


@pytest.mark.parametrize("option", sorted(EVERYWHERE.union(*OPTIONS.values())))
def test_every_option_is_documented(option: str) -> None:
    assert re.search(rf"`{option}[` ]", PAGE), f"docs/cli.md does not name {option}"


def test_every_documented_option_exists() -> None:
    named = set(re.findall(r"`(--?[a-z][a-z0-9-]*)", PAGE))
    assert named - EVERYWHERE.union(*OPTIONS.values()) == set()


@pytest.mark.parametrize("name", main.commands)
def test_every_command_is_documented(name: str) -> None:
    assert f"## `proactor-echo {name}`" in PAGE


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - main.commands.keys()))
def test_every_command_of_a_group_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_framing_is_documented(framing: str) -> None:
    assert f"`{framing}`: " in PAGE


@pytest.mark.parametrize(
    "counters", [pe.ServerStats(), pe.DatagramStats()], ids=lambda counters: type(counters).__name__
)
def test_every_counter_is_documented(counters: pe.ServerStats | pe.DatagramStats) -> None:
    assert [name for name in json.loads(json.dumps(counters.as_dict())) if f"`{name}`" not in PAGE] == []


EXAMPLES = [
    line.partition("#")[0].strip()
    for page in (PAGE, README)
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("proactor-echo")
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_can_be_typed(example: str) -> None:
    _, name, *arguments = shlex.split(example)
    assert isinstance(COMMANDS[name].make_context(name, arguments), click.Context)


@pytest.mark.parametrize(
    ("name", "documented"), re.findall(r"^\| (?:`-p`, )?`(--[a-z-]+) [^`]*` \| ([^|]+) \|", PAGE, re.MULTILINE)
)
def test_every_documented_default_is_the_real_one(name: str, documented: str) -> None:
    options = [option for command in COMMANDS.values() for option in command.params if name in option.opts]
    # The options of one name have one default, but for --rate: bench has none.
    assert {default_of(option) for option in options} - {NONE} == {documented}


NONE = "nothing"


def default_of(option: click.Parameter) -> str:
    """Return the default, from the help where it tells more than one value could."""
    in_words = getattr(option, "help", "").partition("[default: ")[2].removesuffix("]")
    if not in_words and option.default in (None, click.Option(["--x"]).default):
        return NONE
    return in_words or str(option.default).removesuffix(".0")
