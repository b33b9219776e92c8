"""Completion-style asyncio networking, right on Windows by default and the same everywhere else."""
