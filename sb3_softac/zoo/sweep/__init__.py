"""Sweeps of the zoo: its training for each environment, algorithm and seed, on this machine or on a cluster."""
