"""Measurements that decided a constant of the package: each answered one question, and its docstring has the answer."""
