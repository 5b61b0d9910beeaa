"""Search space of ``--optimize-hyperparameters`` for SoftAC.

rl_zoo3 needs two functions. One draws a trial. The other turns the drawn numbers, read back from a study
(``--storage ... --study-name ... --trial-id ...``), into the same keyword arguments again. Here the first calls the
second, so that they cannot disagree.

The space is rl_zoo3's space for SAC plus :data:`SEARCH_SPACE`. To search over one more argument, add an entry there. If
the drawn number is not the value of the argument itself, convert it in :func:`convert_softac_params`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rl_zoo3 imports it anyway, but a model does not need it
    from optuna import Trial

HER_PARAMS = ("n_sampled_goal", "goal_selection_strategy")
# Prefix of the arguments of HER's buffer that the hyperparameter file fixes. They are stored with the trial, since
# training from a stored trial replaces all arguments of the buffer by the drawn ones.
FIXED_HER_PREFIX = "replay_buffer_kwargs."
# Types that Optuna can store as a category.
CATEGORIES = (bool, int, float, str, type(None))


def _target_entropy_factor(trial: "Trial", n_actions: int) -> float:
    # Box: -factor * dim(A), where 1 is usual. Discrete (for which the zoo passes n_actions=0): factor * log|A|, where
    # 0.98 is nearly uniform and 1 would be the uniform policy.
    low, high = (0.25, 2.0) if n_actions > 0 else (0.05, 0.98)
    return trial.suggest_float("target_entropy_factor", low, high)


def _n_critics(trial: "Trial", _: int) -> int:
    fewest = int(_fixed(trial, "n_target_critics") or 1)
    return trial.suggest_int("n_critics", fewest, max(fewest, 4))


# Flat, so that no entry depends on the value of another: the zoo's multivariate TPE models only parameters that occur
# in every trial.
SEARCH_SPACE: dict[str, Callable[["Trial", int], Any]] = {
    # Initial value of the learned temperature.
    "ent_coef_init": lambda trial, _: trial.suggest_float("ent_coef_init", 0.01, 1.0, log=True),
    "target_entropy_factor": _target_entropy_factor,
    # Learning rates of the networks, as multiples of `learning_rate`, which stays that of the temperature.
    "actor_lr_ratio": lambda trial, _: trial.suggest_float("actor_lr_ratio", 0.2, 5.0, log=True),
    "critic_lr_ratio": lambda trial, _: trial.suggest_float("critic_lr_ratio", 0.2, 5.0, log=True),
    # Gradient steps for each step of the (vectorized) environment.
    "update_ratio": lambda trial, _: trial.suggest_categorical("update_ratio", [0.25, 0.5, 1.0, 2.0, 4.0]),
    "policy_delay": lambda trial, _: trial.suggest_int("policy_delay", 1, 3),
    "n_critics": _n_critics,
    "layer_norm": lambda trial, _: trial.suggest_categorical("layer_norm", [False, True]),
    "max_grad_norm": lambda trial, _: trial.suggest_categorical("max_grad_norm", [None, 0.5, 1.0, 5.0, 20.0]),
}


def sample_softac_params(
    trial: "Trial", n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """Draw the hyperparameters of one trial.

    :param trial: trial of Optuna
    :param n_actions: dimension of a Box action space, 0 for every other space
    :param n_envs: number of environments of a run
    :param additional_args: from rl_zoo3, with the keys ``using_her_replay_buffer`` and ``her_kwargs``
    :return: keyword arguments for ``SoftAC``
    """
    from rl_zoo3.hyperparams_opt import sample_sac_params

    sample_sac_params(trial, n_actions, n_envs, additional_args)
    for suggest in SEARCH_SPACE.values():
        suggest(trial, n_actions)
    if _has_n_step_returns(trial, additional_args):
        trial.suggest_categorical("n_steps", [1, 3, 5])
    if additional_args["using_her_replay_buffer"]:
        for name, value in additional_args["her_kwargs"].items():
            if name not in HER_PARAMS and isinstance(value, CATEGORIES):
                trial.suggest_categorical(f"{FIXED_HER_PREFIX}{name}", [value])

    hyperparams = convert_softac_params(trial.params)
    if additional_args["using_her_replay_buffer"]:
        hyperparams["replay_buffer_kwargs"] = additional_args["her_kwargs"] | hyperparams["replay_buffer_kwargs"]
    for name in ("gradient_steps", "ent_coef", "target_entropy"):  # shown beside the drawn numbers
        trial.set_user_attr(name, hyperparams[name])
    return hyperparams


def convert_softac_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """Turn the drawn numbers of a trial into keyword arguments.

    :param sampled_params: ``trial.params`` of a running trial, or of a trial read from a study
    :return: keyword arguments for ``SoftAC``
    """
    from rl_zoo3.hyperparams_opt import convert_offpolicy_params

    drawn = dict(sampled_params)
    ours = {name: drawn.pop(name) for name in SEARCH_SPACE}
    is_of_her = {name: name in HER_PARAMS or name.startswith(FIXED_HER_PREFIX) for name in drawn}
    her_kwargs = {name.removeprefix(FIXED_HER_PREFIX): drawn.pop(name) for name in is_of_her if is_of_her[name]}

    hyperparams = convert_offpolicy_params(drawn)
    hyperparams.update(
        ent_coef=f"auto_{ours['ent_coef_init']:.6g}",
        target_entropy=f"auto_{ours['target_entropy_factor']:.6g}",
        actor_learning_rate=drawn["learning_rate"] * ours["actor_lr_ratio"],
        critic_learning_rate=drawn["learning_rate"] * ours["critic_lr_ratio"],
        gradient_steps=max(1, round(drawn["train_freq"] * ours["update_ratio"])),
        policy_delay=ours["policy_delay"],
        target_networks=True,  # entries with False need batch normalisation, which the drawn networks lack
        max_grad_norm=ours["max_grad_norm"],
    )
    hyperparams["policy_kwargs"].update(n_critics=ours["n_critics"], layer_norm=ours["layer_norm"])
    if her_kwargs:  # rl_zoo3's own converter leaves them at the top level, where no constructor takes them
        hyperparams["replay_buffer_kwargs"] = her_kwargs
    return hyperparams


def _has_n_step_returns(trial: "Trial", additional_args: dict[str, Any]) -> bool:
    """Whether ``n_steps`` has an effect: not with HER, nor with a replay buffer without n-step returns."""
    has_other_buffer = _fixed(trial, "replay_buffer_class") or _fixed(trial, "optimize_memory_usage")
    return not (additional_args["using_her_replay_buffer"] or has_other_buffer)


def _fixed(trial: "Trial", name: str) -> str | None:
    """Hyperparameter of the file as a string; None if it is None, False or missing.

    rl_zoo3 does not pass the file to a sampler, but stores its entries with the study.
    """
    study = getattr(trial, "study", None)
    value = study.user_attrs.get(name) if study is not None else None
    return None if value in ("None", "False") else value
