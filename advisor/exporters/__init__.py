"""Recipes as trainers' own files, and trainers' own files as recipes."""
