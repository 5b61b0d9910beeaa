"""Configurations of SoftAC that every engine, and every reshaping of the code, must train alike."""

import torch as th
from torch import nn

#: for Box actions
BOX: dict[str, dict] = {
    "default": {},
    "v1": {"variant": "v1", "reward_scale": 2.0},
    "five critics": {"policy_kwargs": {"n_critics": 5}},
    "layer norm": {"policy_kwargs": {"layer_norm": True}},
    "v1, layer norm": {"variant": "v1", "policy_kwargs": {"layer_norm": True}},
    "dropout": {"policy_kwargs": {"dropout": 0.2, "layer_norm": True}},
    "gSDE": {"use_sde": True},
    "mixture": {"policy_kwargs": {"n_components": 3}},
    "samples": {"n_action_samples": 3},
    "score function": {"actor_gradient": "score_function"},
    "v1, score function": {"actor_gradient": "score_function", "variant": "v1"},
    "leave one out": {"actor_gradient": "score_function", "baseline": "leave_one_out", "n_action_samples": 3},
    "clipped": {"q_target_clip": 0.5, "max_grad_norm": 0.5, "critic_ent_coef": 0.0, "q_reduction": "mean"},
    "shared features": {"policy_kwargs": {"share_features_extractor": True}},
    "tanh": {"policy_kwargs": {"activation_fn": nn.Tanh}},
    "elu, which stays plain": {"policy_kwargs": {"activation_fn": nn.ELU}},
    "REDQ": {"policy_kwargs": {"n_critics": 5}, "n_target_critics": 2, "actor_q_reduction": "mean"},
    "v1, REDQ": {"variant": "v1", "policy_kwargs": {"n_critics": 5}, "n_target_critics": 2},
    "delayed": {"policy_delay": 2},
    "v1, delayed": {"variant": "v1", "policy_delay": 2},
    "delayed, score function": {"policy_delay": 3, "actor_gradient": "score_function"},
    "averaged": {"actor_tau": 0.3},
    "averaged CrossQ": {
        "actor_tau": 0.3,
        "policy_kwargs": {"batch_norm": True},
        "target_networks": False,
        "policy_delay": 2,
    },
    "v1, averaged": {"variant": "v1", "actor_tau": 0.3},
    "own targets": {"target_networks": False},
    "v1, own targets": {"variant": "v1", "target_networks": False},
    "own targets, samples, REDQ": {
        "target_networks": False,
        "n_action_samples": 3,
        "policy_kwargs": {"n_critics": 4, "layer_norm": True},
        "n_target_critics": 2,
    },
    "batch norm": {"policy_kwargs": {"batch_norm": True}},
    "v1, batch norm": {"policy_kwargs": {"batch_norm": True}, "variant": "v1"},
    "v1, CrossQ": {"policy_kwargs": {"batch_norm": True}, "variant": "v1", "target_networks": False},
    "CrossQ": {"policy_kwargs": {"batch_norm": True}, "target_networks": False, "policy_delay": 2},
    "AdamW": {"policy_kwargs": {"optimizer_class": th.optim.AdamW}},
    "RMSprop": {"policy_kwargs": {"optimizer_class": th.optim.RMSprop}},
}
#: for Box actions: parts of newer recipes
PARTS: dict[str, dict] = {
    "unit norm, hidden": {"policy_kwargs": {"unit_norm_weights": "hidden"}},
    "unit norm, linear, layer norm": {"policy_kwargs": {"unit_norm_weights": "linear", "layer_norm": True}},
    "unit norm, all, batch norm": {"policy_kwargs": {"unit_norm_weights": "all", "batch_norm": True}},
    "v1, unit norm": {"variant": "v1", "policy_kwargs": {"unit_norm_weights": "all", "batch_norm": True}},
    "unit norm, mixture": {"policy_kwargs": {"unit_norm_weights": "linear", "n_components": 3}},
    "joint pass": {"policy_kwargs": {"batch_norm": True}, "joint_pass": True},
    "v1, joint pass": {"variant": "v1", "policy_kwargs": {"batch_norm": True}, "joint_pass": True},
    "joint pass, REDQ": {
        **{"joint_pass": True, "n_target_critics": 2, "n_action_samples": 2, "q_target_clip": 0.5},
        "policy_kwargs": {"batch_norm": True, "n_critics": 4, "unit_norm_weights": "hidden"},
    },
    "joint pass, score function": {
        **{"joint_pass": True, "actor_gradient": "score_function", "policy_delay": 2},
        "policy_kwargs": {"batch_norm": True, "unit_norm_weights": "all"},
    },
}
#: those of them that suit Discrete actions, too
DISCRETE_PARTS = ["unit norm, hidden", "unit norm, all, batch norm", "v1, unit norm", "joint pass", "v1, joint pass"]
DISCRETE_PARTS += ["joint pass, score function"]
#: those of `BOX` that suit Discrete actions, too
DISCRETE = ["default", "v1", "five critics", "layer norm", "score function", "clipped"]
DISCRETE += ["REDQ", "v1, REDQ", "delayed", "v1, delayed", "own targets", "v1, own targets"]
DISCRETE += ["averaged", "batch norm", "CrossQ", "v1, CrossQ"]
