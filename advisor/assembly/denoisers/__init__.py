"""Diffusion models: the denoiser, its batch and the loss of its step."""
