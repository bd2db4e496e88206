"""Answers to single questions of planning: what fits, what it costs."""
