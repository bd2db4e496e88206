"""The user's training data: `read_rows()` reads a file, `measure_lengths()` how long its examples are in tokens."""

from advisor.dataset.examples import Example as Example
from advisor.dataset.layouts import near_columns as near_columns
from advisor.dataset.lengths import TokenLengths as TokenLengths
from advisor.dataset.lengths import measure_lengths as measure_lengths
from advisor.dataset.rows import Rows as Rows
from advisor.dataset.rows import read_rows as read_rows
