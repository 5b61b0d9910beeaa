"""Report of a training run of rl_zoo3: ``python -m sb3_softac.report RUN_FOLDER`` plots its learning curve."""

from sb3_softac.report.learning_curve import write_learning_curve
from sb3_softac.report.run import Evaluations, Run, load_run

__all__ = ["Evaluations", "Run", "load_run", "write_learning_curve"]
