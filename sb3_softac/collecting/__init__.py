"""Exploring actions for the environment, computed by the actor or by its copy on the CPU."""
