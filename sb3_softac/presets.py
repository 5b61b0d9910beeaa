"""Published relatives of SAC as arguments of SoftAC: ``SoftAC("MlpPolicy", env, **presets.crossq())``.

Each function returns the numbers of its paper, also those that are SoftAC's defaults; :func:`robust` those of our own
tuning. Arguments that are given take their place; those in ``policy_kwargs`` are merged one by one, as in
``presets.crossq(batch_size=512, policy_kwargs=dict(n_critics=4))``.
In the zoo: ``--conf-file crossq``, and so on for the name of each function.
"""

from copy import deepcopy
from typing import Any

# What all papers here but the one on discrete actions share: Adam, two hidden layers of 256 units with ReLU.
_SAC: dict[str, Any] = {
    "learning_rate": 3e-4,
    "buffer_size": 1_000_000,
    "batch_size": 256,
    "gamma": 0.99,
    "tau": 0.005,
    "train_freq": 1,
    "gradient_steps": 1,
    "policy_kwargs": {"net_arch": [256, 256], "n_critics": 2},
}


def sac_v1(**changed: Any) -> dict[str, Any]:
    """SAC with a state value network and a fixed temperature, arXiv:1801.01290.

    - ``variant="v1"``: two Q-functions, a value network, and a target of it that moves by ``tau=0.005``
    - ``reward_scale=5``: for Hopper, Walker2d, HalfCheetah and Ant; 20 for Humanoid. The one number to tune
    - ``ent_coef=1``: the reward scale takes its place
    - learning rate 3e-4, discount 0.99, buffer of a million, batches of 256, a gradient step for each step

    :param changed: arguments that take the place of the paper's
    :return: arguments of SoftAC
    """
    return _merged(_SAC, {"variant": "v1", "ent_coef": 1.0, "reward_scale": 5.0}, changed)


def discrete_sac(**changed: Any) -> dict[str, Any]:
    """SAC for discrete actions, arXiv:1910.07207. The paper's numbers are for Atari.

    - ``target_entropy="auto_0.98"``: 0.98 log|A|. It leaves the policy nearly uniform where actions are few: 0.3 to 0.7
      suits most other environments
    - ``train_freq=4``, ``gradient_steps=1``: a gradient step for four steps
    - ``tau=1``, ``target_update_interval=2000``: the target is replaced every 8000 steps, which are 2000 gradient steps
    - ``learning_starts=20_000`` random steps, learning rate 3e-4, batches of 64, buffer of a million, discount 0.99

    :param changed: arguments that take the place of the paper's
    :return: arguments of SoftAC
    """
    own = {
        "learning_starts": 20_000,
        "batch_size": 64,
        "tau": 1.0,
        "target_update_interval": 2000,
        "train_freq": 4,
        "target_entropy": "auto_0.98",
    }
    base = {name: value for name, value in _SAC.items() if name != "policy_kwargs"}  # the paper has a CNN
    return _merged(base, own | {"policy_kwargs": {"n_critics": 2}}, changed)


def redq(**changed: Any) -> dict[str, Any]:
    """REDQ: a large ensemble of critics, and many updates for each step, arXiv:2101.05982.

    - ``gradient_steps=20``: G, the ratio of updates to data
    - ``policy_delay=20``: the actor is updated once for each step of the environment, after the last of G updates
    - ``n_critics=10``: N; ``n_target_critics=2``: M of them, drawn at random, in the target
    - ``actor_q_reduction="mean"``: the actor follows the mean of all N
    - ``learning_starts=5000`` random steps; the others as in SAC

    The paper takes other target entropies for MuJoCo (-1 for Hopper, -3 for HalfCheetah and Walker2d, -4 for Ant, -2
    for Humanoid): pass ``target_entropy``.

    :param changed: arguments that take the place of the paper's
    :return: arguments of SoftAC
    """
    own = {"n_target_critics": 2, "policy_kwargs": {"n_critics": 10}}
    return _merged(_SAC, _MANY_UPDATES, own, changed)


def droq(**changed: Any) -> dict[str, Any]:
    """DroQ: REDQ with two critics that have dropout and layer normalisation, arXiv:2110.02034.

    - ``gradient_steps=20``, ``policy_delay=20``: as in REDQ
    - ``n_critics=2``: M, all of them in the target; ``actor_q_reduction="mean"``: the actor follows their mean
    - ``dropout=0.01``: for Ant; the paper takes 0.0001 for Hopper, 0.005 for Walker2d, 0.1 for Humanoid
    - ``layer_norm=True``: after each dropout
    - ``learning_starts=5000`` random steps; the others as in SAC

    :param changed: arguments that take the place of the paper's
    :return: arguments of SoftAC
    """
    return _merged(_SAC, _MANY_UPDATES, {"policy_kwargs": {"dropout": 0.01, "layer_norm": True}}, changed)


def crossq(**changed: Any) -> dict[str, Any]:
    """CrossQ: batch renormalisation and wide critics, without target networks, arXiv:1902.05605v4.

    - ``target_networks=False``: a state and its successor are one batch of the critics
    - ``batch_norm=True``, ``batch_norm_momentum=0.01`` (the paper's 0.99 is of what stays),
      ``renorm_warmup_steps=100_000``: batch renormalisation of actor and critics
    - ``net_arch``: critics of 2048 units, an actor of 256
    - ``learning_rate=1e-3``, ``betas=(0.5, 0.999)``: of Adam
    - ``policy_delay=3``: an update of the actor for three of the critics
    - ``learning_starts=5000`` random steps; one gradient step for each step, the others as in SAC

    :param changed: arguments that take the place of the paper's
    :return: arguments of SoftAC
    """
    policy_kwargs = {
        "net_arch": {"pi": [256, 256], "qf": [2048, 2048]},
        "optimizer_kwargs": {"betas": (0.5, 0.999)},
        "batch_norm": True,
        "batch_norm_momentum": 0.01,
        "renorm_warmup_steps": 100_000,
    }
    own = {"learning_rate": 1e-3, "learning_starts": 5000, "policy_delay": 3, "target_networks": False}
    base = {name: value for name, value in _SAC.items() if name != "tau"}  # which only targets have
    return _merged(base, own | {"policy_kwargs": policy_kwargs}, changed)


def tqc(**changed: Any) -> dict[str, Any]:
    """TQC: quantile critics, of which targets leave the largest out, arXiv:2005.04269.

    - ``critic_head="quantile"`` with ``n_quantiles=25``: M quantiles; ``n_critics=5``: N
    - ``n_dropped=2``: d, for each critic; the paper takes 5 for Hopper and 0 for HalfCheetah
    - ``net_arch``: critics of three layers of 512 units, an actor of two of 256
    - ``actor_q_reduction="mean"``: the actor follows the mean of all quantiles
    - the others as in SAC

    :param changed: arguments that take the place of the paper's
    :return: arguments of SoftAC
    """
    policy_kwargs = {
        "net_arch": {"pi": [256, 256], "qf": [512, 512, 512]},
        "n_critics": 5,
        "critic_head": "quantile",
        "critic_head_kwargs": {"n_quantiles": 25, "n_dropped": 2},
    }
    return _merged(_SAC, {"actor_q_reduction": "mean", "policy_kwargs": policy_kwargs}, changed)


def simba(**changed: Any) -> dict[str, Any]:
    """SimBa: residual blocks, and observations that are normalised, arXiv:2410.09754.

    - ``blocks="simba"``: two blocks of 512 units in the critics, one of 128 in the actor
    - ``normalize_obs=True``; ``weight_decay=0.01`` of all weights, which is ``decoupled`` as in AdamW
    - ``learning_rate=1e-4``, ``ent_coef="auto_0.01"``, ``target_entropy="auto_0.5"``: -dim(A) / 2
    - ``learning_starts=5000`` random steps; the others as in SAC

    The paper makes two gradient steps for each step where an action is repeated twice, takes a single critic
    (``n_critics=1``) where episodes do not end early, and the discount from the length of an episode.

    :param changed: arguments that take the place of the paper's
    :return: arguments of SoftAC
    """
    policy_kwargs = {
        "net_arch": {"pi": [128], "qf": [512, 512]},
        "blocks": "simba",
        "normalize_obs": True,
        "optimizer_kwargs": {"weight_decay": 0.01, "decoupled_weight_decay": True},
    }
    own = {"learning_rate": 1e-4, "learning_starts": 5000, "policy_kwargs": policy_kwargs}
    return _merged(_SAC, _SMALL_ENTROPY, own, changed)


def xqc(**changed: Any) -> dict[str, Any]:
    """XQC: batch normalisation, unit norm, and critics that learn a distribution, arXiv:2509.25174.

    - ``blocks="xqc"``: critics of four layers of 512 units, an actor of four of 256, with batch normalisation
    - ``unit_norm_weights="linear"``: rows of all layers; ``joint_pass=True``: both states are one batch
    - ``critic_head="categorical"``: 101 returns from -5 to 5, and ``normalize_rewards=True``
    - ``learning_rate="lin_3e-4_3e-5"``, ``policy_delay=3``, ``gradient_steps=2``
    - ``ent_coef="auto_0.01"``, ``target_entropy="auto_0.5"``: -dim(A) / 2; ``log_std_bounds=(-10.0, 2.0)``
    - ``learning_starts=5000`` random steps; the others as in SAC

    :param changed: arguments that take the place of the paper's
    :return: arguments of SoftAC
    """
    policy_kwargs = {
        **{"net_arch": {"pi": [256] * 4, "qf": [512] * 4}, "blocks": "xqc", "unit_norm_weights": "linear"},
        "log_std_bounds": (-10.0, 2.0),
    }
    own = {"learning_rate": "lin_3e-4_3e-5", "policy_delay": 3, "gradient_steps": 2, "learning_starts": 5000}
    return _merged(_SAC, _SMALL_ENTROPY, _BY_BATCH, own | {"policy_kwargs": policy_kwargs}, changed)


def flashsac(**changed: Any) -> dict[str, Any]:
    """FlashSAC: residual blocks with batch normalisation, unit norm, and noise that is held, arXiv:2604.04539.

    - ``blocks="flashsac"``: two blocks of 256 units in the critics, two of 128 in the actor
    - ``unit_norm_weights="all"``: of all layers and normalisations; ``joint_pass=True``: both states are one batch
    - ``critic_head="categorical"``: 101 returns from -5 to 5; ``normalize_rewards=True``, ``max_normalized_return=5``
    - ``noise_repeat=16``; ``squash_log_std=True`` with ``log_std_bounds=(-10.0, 2.0)``
    - ``learning_rate="lin_3e-4_1.5e-4"``: the paper's goes down by a cosine; ``policy_delay=2``, ``tau=0.01``
    - ``ent_coef="auto_0.01"``, ``target_entropy="auto_0.478"``: of a Gaussian with standard deviation 0.15
    - ``batch_size=512``, ``learning_starts=10_000`` random steps, one gradient step for each step: as its authors have
      it for simulators on a CPU

    Small differences from its published code: the temperature steps before the critics, the actor's own pass has one
    state and not both, batch normalisation has an epsilon of 1e-3 in place of 1e-5.

    :param changed: arguments that take the place of the paper's
    :return: arguments of SoftAC
    """
    policy_kwargs = {
        **{"net_arch": {"pi": [128] * 2, "qf": [256] * 2}, "blocks": "flashsac", "unit_norm_weights": "all"},
        **{"log_std_bounds": (-10.0, 2.0), "squash_log_std": True},
    }
    own = {
        **{"learning_rate": "lin_3e-4_1.5e-4", "policy_delay": 2, "tau": 0.01, "target_entropy": "auto_0.478"},
        **{"batch_size": 512, "learning_starts": 10_000, "noise_repeat": 16, "max_normalized_return": 5.0},
    }
    return _merged(_SAC, _SMALL_ENTROPY, _BY_BATCH, own | {"policy_kwargs": policy_kwargs}, changed)


def robust(**changed: Any) -> dict[str, Any]:
    """One setting for environments with Box actions that nobody has tuned: a small FlashSAC.

    It takes about the CPU time of Stable-Baselines3's SAC. It was chosen on Hopper-v5, HalfCheetah-v5 and Ant-v5, with
    one or two seeds from 5000, after 50,000 steps; ``benchmarks/robust_tuning.yml`` has the rules and what else was
    tried. On other environments it is not evaluated yet.

    - as :func:`flashsac`, but one block of 128 units in the critics and one of 64 in the actor
    - ``batch_size=256``, ``learning_starts=5000`` random steps, a constant ``learning_rate=3e-4``

    :param changed: arguments that take the place of these
    :return: arguments of SoftAC
    """
    smaller = {
        **{"learning_rate": 3e-4, "batch_size": 256, "learning_starts": 5000},
        "policy_kwargs": {"net_arch": {"pi": [64], "qf": [128]}},
    }
    return _merged(flashsac(), smaller, changed)


# What SimBa, XQC and FlashSAC share.
_SMALL_ENTROPY = {"ent_coef": "auto_0.01", "target_entropy": "auto_0.5"}
# What XQC and FlashSAC share.
_BY_BATCH = {
    "joint_pass": True,
    "normalize_rewards": True,
    "policy_kwargs": {
        **{"batch_norm": True, "batch_norm_momentum": 0.01, "renorm_warmup_steps": None},
        **{"critic_head": "categorical", "critic_head_kwargs": {"n_atoms": 101, "low": -5.0, "high": 5.0}},
    },
}
_MANY_UPDATES = {"learning_starts": 5000, "gradient_steps": 20, "policy_delay": 20, "actor_q_reduction": "mean"}


def _merged(*arguments: dict[str, Any]) -> dict[str, Any]:
    """Later arguments in the place of earlier ones, and those of the policy one by one."""
    merged: dict[str, Any] = {}
    for each in deepcopy(arguments):
        policy_kwargs = {**merged.get("policy_kwargs", {}), **(each.get("policy_kwargs") or {})}
        merged = {**merged, **each, "policy_kwargs": policy_kwargs}
    return merged
