"""A run's folder, as rl_zoo3 writes it, made visible: ``python -m sb3_softac.report RUN_FOLDER``."""

from sb3_softac.report.learning_curve import write_learning_curve
from sb3_softac.report.run import Evaluations, Run, load_run

__all__ = ["Evaluations", "Run", "load_run", "write_learning_curve"]
