"""What a step of each training objective computes: its batch, its loss, its reference."""
