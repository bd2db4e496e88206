"""The trainers a trial can use. A new one is a file here and an entry in the tuple."""

from __future__ import annotations

from advisor.errors import UnknownName
from advisor.tuner.trainers.hf import HF
from advisor.tuner.trainers.loop import LOOP
from advisor.tuner.trainers.protocol import TrainerDoor
from advisor.tuner.trainers.trl import TRL

TRAINERS: tuple[TrainerDoor, ...] = (LOOP, HF, TRL)


def find_trainer(name: str) -> TrainerDoor:
    """The trainer of a name.

    Raises:
        UnknownName: no such trainer.
    """
    for trainer in TRAINERS:
        if trainer.name == name:
            return trainer
    raise UnknownName.of("trainer", name, [t.name for t in TRAINERS], list_with="advisor tune --help")
