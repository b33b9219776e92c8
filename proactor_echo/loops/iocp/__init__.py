"""The completion engine: Windows says that an operation is done. For Windows only."""
