"""The version of the package, for all that want it below the package's own names."""

from __future__ import annotations

__version__ = "0.1.0"
