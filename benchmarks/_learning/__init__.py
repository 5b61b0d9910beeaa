"""The parts of ``benchmarks/learning.py``.

``settings``     what a run is                            ``store``        runs on disk, alone and packed
``hyperparams``  a run's hyperparameters: the zoo's entry or the constructor's defaults, then overrides
``plans``        experiments, and the runs that follow    ``experiments``  those of ``experiments.yml``
``evaluation``   episodes with fixed seeds, without touching the training's random numbers
``training``     one run                                  ``pool``         many runs side by side
``data``         the stored runs as data frames           ``stats``        rliable's statistics
``tables``       the numbers of a report                  ``aggregates``   normalised scores across environments
``figures``      plots                                    ``markdown``     texts, and columns of tables for reading
``report``       all of it, written
"""
