"""A program for Windows: run the command line in a console of its own, and press Ctrl+C there when told to.

``python console_host.py ARGUMENTS``. A ``c`` on standard input presses Ctrl+C, a ``b`` Ctrl+Break. The exit status is
the command line's; 77 says that this system could not do what it was told.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading

CANNOT = 77
CTRL_EVENTS = {b"c": 0, b"b": 1}


def main() -> int:
    if sys.platform != "win32":
        return CANNOT
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel32.FreeConsole()
    if not kernel32.AllocConsole():
        return CANNOT
    # The event goes to every process of the console, so to this one too.
    for number in (signal.SIGINT, signal.SIGBREAK):
        signal.signal(number, lambda number, frame: None)
    child = subprocess.Popen(
        [sys.executable, "-m", "proactor_echo", *sys.argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=sys.stdout,
        stderr=sys.stderr,
    )
    unable = threading.Event()

    def obey() -> None:
        while key := os.read(0, 1):
            if not kernel32.GenerateConsoleCtrlEvent(CTRL_EVENTS[key], 0):
                unable.set()
                child.kill()

    threading.Thread(target=obey, daemon=True).start()
    status = child.wait()
    return CANNOT if unable.is_set() else status


if __name__ == "__main__":
    sys.exit(main())
