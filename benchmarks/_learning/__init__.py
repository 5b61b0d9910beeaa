"""The parts of ``benchmarks/learning.py``.

``settings``     what a run is, where it is stored, whether it is finished
``hyperparams``  a run's hyperparameters: the zoo's entry or the constructor's defaults, then overrides
``plans``        experiments, and the runs that follow from them
``suite``        what ``suite.yml`` asks for            ``ablations``  what ``ablations.yml`` asks for
``evaluation``   episodes with fixed seeds, without touching the training's random numbers
``training``     one run, in this process
``worker``       one run, as a child process
``pool``         many runs side by side
``data``         the stored runs as tables
``milestones``   returns at given steps
``estimators``   the series' gradient estimators, as measured
``targets``      what the suite asks for, met or missed
``aggregates``   normalised scores across environments
``stats``        rliable's statistics       ``report``  tables      ``figures``  plots      ``markdown``  text
``suite_report`` and ``ablation_report``    what a report has beyond that
"""
