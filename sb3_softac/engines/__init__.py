"""Engines that run updates: fused, traced or captured. Each one computes the updates of the eager engine."""
