"""The Python files that exports write, put together from parts."""
