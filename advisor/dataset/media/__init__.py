"""Pictures, sound and video in data files: which cells hold some, and how large the pictures are."""

from advisor.dataset.media.media_kinds import MARKS as MARKS
from advisor.dataset.media.media_kinds import MEDIA_NAMES as MEDIA_NAMES
from advisor.dataset.media.media_kinds import MEDIA_PARTS as MEDIA_PARTS
from advisor.dataset.media.media_kinds import Media as Media
from advisor.dataset.media.media_kinds import media_of as media_of
from advisor.dataset.media.picture_sizes import picture_sizes as picture_sizes
