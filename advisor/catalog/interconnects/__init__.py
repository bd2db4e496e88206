"""What cards exchange data over, and how fast collectives were measured on it."""

from advisor.catalog.interconnects.collectives import Collective as Collective
from advisor.catalog.interconnects.collectives import Exchange as Exchange
from advisor.catalog.interconnects.collectives import exchange_of as exchange_of
