"""Files: what is saved, what is loaded, what is imported."""
