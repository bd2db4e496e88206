"""Optimizers of libraries beside torch and bitsandbytes: the library's own to train with, a stand-in to trace."""
