"""``python -m proactor_echo`` is the command line."""

from proactor_echo.cli import main

main()
