"""The same training step as traced, measured on a real device: one process a run, `profile()` is the door."""
