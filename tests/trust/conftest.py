"""The tiny models, and a store of its own for every test."""

from tests.tiny_models import own_home, tiny_bert, tiny_llama

__all__ = ["own_home", "tiny_bert", "tiny_llama"]
