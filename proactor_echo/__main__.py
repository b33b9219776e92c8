"""``python -m proactor_echo`` is the command line."""

from __future__ import annotations

from proactor_echo.cli import main

main()
