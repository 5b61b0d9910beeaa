"""The parts of ``benchmarks/speed.py``.

``case``    what is timed: environment, sizes, how an agent is built
``pairs``   two agents in turn, in one process
``child``   peak memory and first update of one agent, in a process of its own
``output``  table and plot
"""
