"""The user's training data: `read_rows()` reads a file, `measure_lengths()` how long its examples are in tokens."""

from advisor.assembly.lengths import Lengths as Lengths
from advisor.assembly.lengths import measure_lengths as measure_lengths
from advisor.assembly.rows import Example as Example
from advisor.assembly.rows import Rows as Rows
from advisor.assembly.rows import near_columns as near_columns
from advisor.assembly.rows import read_rows as read_rows
