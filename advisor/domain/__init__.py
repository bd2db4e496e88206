"""Ground floor: frozen values and pure arithmetic. No torch, no files, no I/O."""
