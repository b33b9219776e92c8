"""How many processors there are for this process."""

from __future__ import annotations

import os
import sys

__all__ = ["usable_cpus"]


def usable_cpus() -> int:
    """Return how many processors this process may use: by its affinity, and by its control group's share (Linux)."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    count = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return count
