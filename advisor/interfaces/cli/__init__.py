"""The command line: one file a verb, each holding `command`; `main` lists them and loads one at a time."""
