"""The search for a plan and its outlook, in numbers alone: no files, no models."""
