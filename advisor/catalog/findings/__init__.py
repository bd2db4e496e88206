"""Published and own results as data: one file a study in `studies/`, the door is `load.load_studies`."""
