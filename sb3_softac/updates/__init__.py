"""Gradient steps: losses, optimizer steps, targets and temperature, and the update of each variant."""
