"""``python -m proactor_echo`` is the command line."""

from .cli import main

main()
