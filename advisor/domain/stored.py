"""Base of all that lies in a file: a schema number, and the type's own knowledge of its past."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


class Value(BaseModel):
    """A frozen value with named fields and nothing else; numbers in it are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stored(Value):
    """A value with a file format. Subclasses set KIND and VERSION, and UPGRADES from each past number.

    In the file, `"schema": "profile/2"` comes first; in memory the field is not kept, since a value in
    memory is always of today's schema. `advisor.store` is the only reader and writer.
    """

    KIND: ClassVar[str]
    VERSION: ClassVar[int] = 1
    UPGRADES: ClassVar[Mapping[int, Upgrade]] = {}

    @classmethod
    def schema_tag(cls) -> str:
        """What a file of today says of itself, e.g. `profile/2`."""
        return f"{cls.KIND}/{cls.VERSION}"

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Any:
        """The value in a parsed file, upgraded from any past schema.

        Raises:
            ValueError: no schema, another kind, or newer than this version of advisor.
            ValidationError: the fields are not those of the schema.
        """
        fields = dict(document)
        kind, _, number = str(fields.pop("schema", "")).partition("/")
        if kind != cls.KIND or not number.isdigit():
            raise ValueError(f'expected "schema": "{cls.schema_tag()}", found {document.get("schema")!r}')
        version = int(number)
        if version > cls.VERSION:
            raise ValueError(f"schema {kind}/{version} is newer than {cls.schema_tag()}: upgrade advisor to read it")
        while version < cls.VERSION:
            if version not in cls.UPGRADES:
                raise ValueError(f"no upgrade from {kind}/{version} to {cls.schema_tag()}")
            fields = cls.UPGRADES[version](fields)
            version += 1
        return cls.model_validate(fields)

    def to_document(self) -> dict[str, Any]:
        """The JSON-ready form that `from_document` reads back to an equal value."""
        return {"schema": self.schema_tag(), **self.model_dump(mode="json")}
