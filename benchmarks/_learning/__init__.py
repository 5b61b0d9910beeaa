"""The parts of ``benchmarks/learning.py``.

``settings``     what a run is, where it is stored, whether it is finished
``hyperparams``  a run's hyperparameters: the zoo's entry or the constructor's defaults, then overrides
``evaluation``   episodes with fixed seeds, without touching the training's random numbers
``training``     one run, in this process
``worker``       one run, as a child process
``pool``         many runs side by side
``milestones``   returns at given steps
``estimators``   the series' gradient estimators, as measured
``stats``        rliable's statistics       ``report``  tables      ``figures``  plots
"""
