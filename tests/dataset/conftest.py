"""The tiny models, their data, and a store of its own for every test."""

from tests.tiny_models import own_home, tiny_bert, tiny_llama, tiny_t5, wide_bert

__all__ = ["own_home", "tiny_bert", "tiny_llama", "tiny_t5", "wide_bert"]
