"""``proactor-echo service``: install, remove and run a server as a Windows service.

A service is a process that the service control manager (SCM) starts, without a user and without a console, and that
answers to it instead of to signals.

:mod:`~proactor_echo.cli.service.commands` has the commands, :mod:`~proactor_echo.cli.service.manager` adds services to
the system and takes them away, :mod:`~proactor_echo.cli.service.process` is the process that runs as one, and
:mod:`~proactor_echo.cli.service.winapi` has the functions of Windows that these call.
"""

from __future__ import annotations
