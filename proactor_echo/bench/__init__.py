"""A load generator that checks every byte: what ``proactor-echo bench`` runs.

:mod:`~proactor_echo.bench.messages` makes messages that know their number, :mod:`~proactor_echo.bench.connection` sends
them, checks what comes back and says how long it took, :mod:`~proactor_echo.bench.run` has all connections together,
with or without a planned rate, :mod:`~proactor_echo.bench.histogram` keeps the times, and
:mod:`~proactor_echo.bench.report` says what they mean.
"""

from __future__ import annotations
