"""Hyperparameters that somebody published or ships: one file of settings, the door is `load.load_settings`."""
