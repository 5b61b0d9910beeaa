"""Readers of the files that a run leaves: one module for each kind of file."""
