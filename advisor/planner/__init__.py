"""Many jobs on many machines: which runs where, when, at what cost, and with what chance of its deadline."""
