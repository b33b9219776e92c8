"""``proactor-echo doctor``: what of this machine and this Python a server will meet.

:mod:`~proactor_echo.cli.doctor.rows` has what a row is, :mod:`~proactor_echo.cli.doctor.python_rows` what Python tells,
:mod:`~proactor_echo.cli.doctor.system_rows` what the system does, :mod:`~proactor_echo.cli.doctor.windows_rows` what
Windows alone has, and :mod:`~proactor_echo.cli.doctor.commands` prints them.
"""

from __future__ import annotations
