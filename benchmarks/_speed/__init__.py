"""The parts of ``benchmarks/speed.py`` and ``benchmarks/gpu.py``.

``envs``        environments that cost next to nothing
``case``        the sizes that agents share, and the named cases
``contenders``  who takes part, by name
``plain_sac``   a contender: SAC as a single-file implementation writes it
``agent``       one contender at work, in this process
``child``       the same in a process of its own, over a pipe
``pairs``       agents in turn, block by block
``stats``       medians and their intervals
``points``      what is measured together; the axes of the sweep
``store``       results on disk, resumed
``equality``    whether SoftAC's engines make the same updates
``markdown``    tables
"""
