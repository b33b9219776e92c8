"""What a worker prints goes where the supervisor's output does."""

from __future__ import annotations

import atexit
import contextlib
import logging

from proactor_echo.cli.background import Output, background_output
from proactor_echo.cli.output import LogFormat, logging_to_stderr

__all__ = ["output_of_worker"]


def output_of_worker(log_level: int, log_format: LogFormat) -> Output:
    """Set this process's output and log up, for as long as it lives."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    output = stack.enter_context(background_output(log_format))
    summarize = log_level > logging.DEBUG
    stack.enter_context(logging_to_stderr(log_level, output.err_line, form=log_format, summarize=summarize))
    return output
