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
PARTS |= {
    "squashed log std": {"policy_kwargs": {"log_std_bounds": (-10.0, 2.0), "squash_log_std": True}},
    "squashed log std, mixture": {"policy_kwargs": {"squash_log_std": True, "n_components": 3}},
    "clipped log std": {"policy_kwargs": {"log_std_bounds": (-1.0, 0.0)}},
    "decay of some layers": {
        "policy_kwargs": {
            **{"decayed_layers": ["output", "norm"], "layer_norm": True, "optimizer_class": th.optim.AdamW},
            "optimizer_kwargs": {"weight_decay": 0.1},
        }
    },
    "v1, decay of some layers": {
        "variant": "v1",
        "policy_kwargs": {"decayed_layers": ["hidden"], "optimizer_kwargs": {"weight_decay": 0.1}},
    },
    "SimBa": {"policy_kwargs": {"blocks": "simba"}},
    "v1, SimBa": {"variant": "v1", "policy_kwargs": {"blocks": "simba"}},
    "SimBa, tanh, score function": {
        "actor_gradient": "score_function",
        "policy_kwargs": {"blocks": "simba", "activation_fn": nn.Tanh},
    },
    "BRO": {"policy_kwargs": {"blocks": "bro", "n_critics": 3}, "n_target_critics": 2},
    "FlashSAC": {
        **{"joint_pass": True, "policy_delay": 2},
        "policy_kwargs": {"blocks": "flashsac", "batch_norm": True, "unit_norm_weights": "all"},
    },
    "v1, FlashSAC": {"variant": "v1", "policy_kwargs": {"blocks": "flashsac", "batch_norm": True}},
    "FlashSAC, leave one out": {
        **{"actor_gradient": "score_function", "baseline": "leave_one_out", "n_action_samples": 3},
        "policy_kwargs": {"blocks": "flashsac", "batch_norm": True},
    },
    "XQC": {
        **{"joint_pass": True, "policy_delay": 3},
        "policy_kwargs": {"blocks": "xqc", "batch_norm": True, "unit_norm_weights": "linear"},
    },
    "XQC without targets": {"target_networks": False, "policy_kwargs": {"blocks": "xqc", "batch_norm": True}},
}
PARTS |= {
    "categorical": {"policy_kwargs": {"critic_head": "categorical"}},
    "v1, categorical": {"variant": "v1", "policy_kwargs": {"critic_head": "categorical"}},
    "categorical, REDQ": {
        **{"n_target_critics": 2, "q_reduction": "mean", "n_action_samples": 2},
        "policy_kwargs": {"critic_head": "categorical", "n_critics": 3, "critic_head_kwargs": {"n_atoms": 11}},
    },
    "categorical, own targets": {
        **{"target_networks": False, "critic_ent_coef": 0.1},
        "policy_kwargs": {"critic_head": "categorical", "batch_norm": True},
    },
    "HL-Gauss": {"policy_kwargs": {"critic_head": "hl_gauss"}},
    "HL-Gauss, score function": {"actor_gradient": "score_function", "policy_kwargs": {"critic_head": "hl_gauss"}},
    "quantile": {"policy_kwargs": {"critic_head": "quantile"}, "actor_q_reduction": "mean"},
    "v1, quantile": {"variant": "v1", "policy_kwargs": {"critic_head": "quantile"}},
    "quantile, five critics": {
        **{"n_action_samples": 2, "joint_pass": True},
        "policy_kwargs": {
            **{"critic_head": "quantile", "n_critics": 5, "batch_norm": True},
            "critic_head_kwargs": {"n_quantiles": 7, "n_dropped": 0},
        },
    },
}
PARTS |= {
    "soft_q": {"variant": "soft_q", "n_particles": 4},
    "soft_q, averaged": {"variant": "soft_q", "n_particles": 3, "actor_tau": 0.3, "policy_delay": 2},
    "soft_q, categorical, REDQ": {
        **{"variant": "soft_q", "n_particles": 4, "n_target_critics": 2, "q_reduction": "mean"},
        "policy_kwargs": {"critic_head": "categorical", "n_critics": 3},
    },
    "soft_q, joint pass": {
        **{"variant": "soft_q", "n_particles": 4, "joint_pass": True},
        "policy_kwargs": {"batch_norm": True, "unit_norm_weights": "all", "layer_norm": True},
    },
    "soft_q, own targets": {
        **{"variant": "soft_q", "n_particles": 4, "target_networks": False, "policy_delay": 2},
        "policy_kwargs": {"batch_norm": True},
    },
}
#: those of them that suit Discrete actions, too
DISCRETE_PARTS = ["unit norm, hidden", "unit norm, all, batch norm", "v1, unit norm", "joint pass", "v1, joint pass"]
DISCRETE_PARTS += ["joint pass, score function", "decay of some layers", "SimBa", "v1, SimBa", "BRO", "FlashSAC", "XQC"]
DISCRETE_PARTS += ["soft_q", "soft_q, averaged", "soft_q, categorical, REDQ", "soft_q, joint pass"]
DISCRETE_PARTS += ["soft_q, own targets"]
DISCRETE_PARTS += ["categorical", "v1, categorical", "HL-Gauss", "quantile", "v1, quantile"]
#: those of `BOX` that suit Discrete actions, too
DISCRETE = ["default", "v1", "five critics", "layer norm", "score function", "clipped"]
DISCRETE += ["REDQ", "v1, REDQ", "delayed", "v1, delayed", "own targets", "v1, own targets"]
DISCRETE += ["averaged", "batch norm", "CrossQ", "v1, CrossQ"]
