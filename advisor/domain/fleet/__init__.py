"""The plan of many jobs on many machines, as it is handed on."""
