"""Environments and studies of how observations are prepared; see :mod:`benchmarks.observations`."""
