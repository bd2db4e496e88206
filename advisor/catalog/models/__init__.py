"""Model definitions: the catalogue's own 161 architectures, and resolution of a name to one definition."""

from advisor.catalog.models.index import ModelEntry as ModelEntry
from advisor.catalog.models.index import models as models
from advisor.catalog.models.resolve import resolve_model as resolve_model
from advisor.catalog.models.resolve import tokenizer_folder as tokenizer_folder
