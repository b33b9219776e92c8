"""The diagram in docs/design.md is drawn from the table.

To draw it again: ``python tests/docs/test_lifecycle_diagram.py``.
"""

import itertools
from pathlib import Path

from proactor_echo.wire.lifecycle import TRANSITIONS, ConnectionState, Event

PAGE = Path(__file__).resolve().parents[2] / "docs" / "design.md"
BEGIN = "<!-- drawn from proactor_echo/wire/lifecycle.py by tests/docs/test_lifecycle_diagram.py: begin -->\n"
END = "<!-- end of what is drawn -->\n"


def test_the_diagram_in_the_documentation_shows_the_table_as_it_is() -> None:
    page = PAGE.read_text("utf-8")
    assert with_diagram(page) == page, "draw it again: python tests/docs/test_lifecycle_diagram.py"


def with_diagram(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{diagram()}\n{table()}\n{END}{after}"


def diagram() -> str:
    """Draw the changes of state; events between the same two states share an arrow."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {ConnectionState.OPENING}"]
    for before, after in itertools.permutations(ConnectionState, 2):
        events = [event for event in Event if TRANSITIONS.get((before, event)) is after]
        if events:
            lines.append(f"    {before} --> {after}: {', '.join(events)}")
    return "\n".join([*lines, f"    {ConnectionState.CLOSED} --> [*]", "```", ""])


def table() -> str:
    """Write down every event in every state; an event that is not allowed is a dash."""
    rows = [["state", *Event], ["---"] * (len(Event) + 1)]
    for state in ConnectionState:
        rows.append([f"**{state}**", *(TRANSITIONS.get((state, event), "–") for event in Event)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    PAGE.write_text(with_diagram(PAGE.read_text("utf-8")), "utf-8", newline="\n")
