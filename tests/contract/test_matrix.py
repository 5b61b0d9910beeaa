"""The main options train, save, load and act in every combination of two or three, or are refused with a reason."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_softac import ActionMaskObservation, SoftAC
from tests.coverings import covering
from tests.helpers import DiscreteTarget, Target, dict_space, image_space

POLICIES = {
    "MlpPolicy": (None, {}),
    "CnnPolicy": (image_space(), {"features_extractor_kwargs": {"features_dim": 8}}),
    "MultiInputPolicy": (dict_space(), {"features_extractor_kwargs": {"cnn_output_dim": 8}}),
}
MATRIX = covering(
    [
        (*options, space, n_components)
        for *options, space, n_components in itertools.product(
            ("v1", "v2"),
            ("reparameterized", "score_function"),
            POLICIES,
            (1, 2),  # critics
            (1, 3),  # n_steps
            ("Box", "Discrete"),
            (1, 2),  # components of the policy
        )
        if space == "Box" or n_components == 1
    ],
    strength=3,
)


@pytest.mark.parametrize("cell", MATRIX, ids=lambda cell: "-".join(map(str, cell)))
def test_every_three_options_train_together(cell, tmp_path):
    variant, gradient, policy, n_critics, n_steps, space, n_components = cell
    observation_space, policy_kwargs = POLICIES[policy]
    env = Target(observation_space) if space == "Box" else DiscreteTarget(observation_space)
    kwargs = {
        "variant": variant,
        "actor_gradient": gradient,
        "n_steps": n_steps,
        "policy_kwargs": {"net_arch": [8], "n_critics": n_critics, "n_components": n_components} | policy_kwargs,
        "buffer_size": 100,
        "learning_starts": 8,
        "batch_size": 8,
        "seed": 0,
    }
    model = SoftAC(policy, env, **kwargs).learn(14)
    assert model._n_updates == 6
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=env)
    obs = model.observation_space.sample()
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    assert model.action_space.contains(model.predict(obs)[0])
    loaded.learn(4, reset_num_timesteps=False)


ARCHITECTURES = {
    "REDQ": {"policy_kwargs": {"n_critics": 4}, "n_target_critics": 2, "actor_q_reduction": "mean"},
    "delayed, averaged": {"policy_delay": 4, "actor_tau": 0.1},
    "own targets": {"target_networks": False},
    "batch norm": {"policy_kwargs": {"batch_norm": True}},
    "CrossQ": {"policy_kwargs": {"batch_norm": True}, "target_networks": False, "policy_delay": 3},
    "all at once": {
        "policy_kwargs": {
            **{"n_critics": 3, "batch_norm": True, "layer_norm": True, "dropout": 0.1},
            "share_features_extractor": True,
        },
        "n_target_critics": 2,
        "policy_delay": 2,
        "target_networks": False,
        "actor_tau": 0.1,
    },
}
KINDS = {
    "one Gaussian": {},
    "samples": {"n_action_samples": 3},
    "gSDE": {"use_sde": True},
    "mixture": {"policy_kwargs": {"n_components": 2}},
    "Discrete": {"action_space": spaces.Discrete(3)},
    "MultiDiscrete, all": {"action_space": spaces.MultiDiscrete([3, 2])},
    "MultiDiscrete, one sample": {"action_space": spaces.MultiDiscrete([7] * 4)},
    "MultiDiscrete, sampled": {"action_space": spaces.MultiDiscrete([7] * 4), "n_action_samples": 2},
}


ARCHITECTURES_AND_KINDS = covering(
    [
        (variant, architecture, kind, gradient)
        for variant, architecture, kind, gradient in itertools.product(
            ("v1", "v2"), ARCHITECTURES, KINDS, ("reparameterized", "score_function")
        )
        if kind != "gSDE" or gradient == "reparameterized"
    ]
)


@pytest.mark.parametrize(("variant", "architecture", "kind", "gradient"), ARCHITECTURES_AND_KINDS)
def test_every_architecture_of_the_critics_trains_with_every_policy(variant, architecture, kind, gradient, tmp_path):
    policy, observation_space = ("MultiInputPolicy", dict_space()) if kind == "samples" else ("MlpPolicy", None)
    arguments = ARCHITECTURES[architecture] | KINDS[kind]
    env = Target(observation_space, arguments.pop("action_space", None))
    policy_kwargs = {"net_arch": [8]} | POLICIES[policy][1]
    for options in (ARCHITECTURES[architecture], KINDS[kind]):
        policy_kwargs |= options.get("policy_kwargs", {})
    arguments |= {"policy_kwargs": policy_kwargs, "variant": variant, "actor_gradient": gradient}
    model = SoftAC(policy, env, buffer_size=100, learning_starts=8, batch_size=8, seed=0, **arguments).learn(14)
    assert model._n_updates == 6
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=env)
    obs = model.observation_space.sample()
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    for name in ("n_target_critics", "actor_q_reduction", "policy_delay", "target_networks", "actor_tau"):
        assert getattr(loaded, name) == getattr(model, name)
    loaded.learn(4, reset_num_timesteps=False)
    assert all(parameter.isfinite().all() for parameter in loaded.policy.parameters())


def discrete(**kwargs) -> SoftAC:
    return SoftAC("MlpPolicy", DiscreteTarget(), buffer_size=256, policy_kwargs={"net_arch": [8]}, **kwargs)


def test_an_action_mask_in_the_observation_is_obeyed():
    class Masked(gym.Env):
        observation_space = spaces.Dict({"state": spaces.Box(-1.0, 1.0, (2,)), "action_mask": spaces.MultiBinary(4)})
        action_space = spaces.Discrete(4)

        def _observe(self):
            return {"state": np.zeros(2, dtype=np.float32), "action_mask": np.array([0, 1, 0, 1], dtype=np.int8)}

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self._observe(), {}

        def step(self, action):
            return self._observe(), float(action in (0, 2)), False, False, {}

    model = SoftAC(
        "MultiInputPolicy", Masked(), buffer_size=300, learning_starts=20, policy_kwargs={"net_arch": [8]}, seed=0
    ).learn(60)
    taken = model.replay_buffer.actions[:60].flatten()
    assert set(taken) <= {1, 3}
    assert model.predict(Masked()._observe(), deterministic=True)[0] in (1, 3)
    assert np.isfinite(model.logger.name_to_value["train/entropy"])


class MaskedByMethod(DiscreteTarget):
    """Action masks as sb3-contrib's MaskablePPO takes them."""

    def action_masks(self) -> np.ndarray:
        return np.array([False, True, True])


@pytest.mark.parametrize("observation_space", [None, dict_space()], ids=["Box", "Dict"])
def test_action_masks_of_a_method_are_obeyed(observation_space):
    env = ActionMaskObservation(MaskedByMethod(observation_space))
    policy_kwargs = {"net_arch": [8]} | POLICIES["MultiInputPolicy"][1]
    kwargs = {"buffer_size": 300, "learning_starts": 20, "batch_size": 32, "policy_kwargs": policy_kwargs, "seed": 0}
    model = SoftAC("MultiInputPolicy", env, **kwargs).learn(60)
    assert set(model.replay_buffer.actions[:60].flatten()) <= {1, 2}
    obs, _ = env.reset()
    assert env.observation_space.contains(obs)
    assert model.predict(obs, deterministic=True)[0] in (1, 2)


def test_action_masks_that_would_be_ignored_warn():
    with pytest.warns(UserWarning, match="ActionMaskObservation"):
        SoftAC("MlpPolicy", MaskedByMethod(), buffer_size=10)


def test_action_masks_need_discrete_actions():
    with pytest.raises(ValueError, match="needs Discrete or MultiDiscrete actions"):
        ActionMaskObservation(Target())
    with pytest.raises(ValueError, match=r"`action_masks\(\)`"):
        ActionMaskObservation(DiscreteTarget())


def test_alpha_is_bounded_when_asked():
    model = discrete(ent_coef_bounds=(0.5, 0.9), target_entropy="auto_1", learning_rate=0.1, learning_starts=5).learn(
        30
    )
    assert model.log_ent_coef.exp().item() == pytest.approx(0.9)


def test_a_temperature_that_runs_away_warns_once_and_names_the_remedy():
    model = discrete(target_entropy="auto_1", learning_rate=0.5, learning_starts=5)
    with pytest.warns(
        UserWarning, match=r"`ent_coef` has grown to .*target_entropy='auto_0.5'.*ent_coef_bounds"
    ) as seen:
        model.learn(40)
    assert len(seen) == 1


def test_a_temperature_that_overflows_is_named_as_the_cause():
    model = discrete(target_entropy="auto_1", ent_coef="auto_1e36", learning_rate=5.0, learning_starts=5)
    with (
        pytest.warns(UserWarning, match="has grown to"),
        pytest.raises(ValueError, match=r"learning has diverged.*The learned temperature, `ent_coef`, grew beyond"),
    ):
        model.learn(40)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"actor_gradient": "score_function", "baseline": "leave_one_out"}, "`n_action_samples=1` was given"),
        ({"variant": "v1", "critic_ent_coef": 0.1}, "`variant='v2'`"),
        ({"variant": "v1", "q_target_clip": 0.1}, "`variant='v2'`"),
        ({"critic_ent_coef": -1.0}, "`critic_ent_coef` must be"),
        ({"q_target_clip": 0.0}, "`q_target_clip` must be"),
        ({"q_reduction": "max"}, "`q_reduction` must be"),
        ({"baseline": "zero"}, "`baseline` must be"),
        ({"actor_gradient": "finite_differences"}, "`actor_gradient` must be"),
        ({"ent_coef_bounds": (1.0, 0.1)}, "`ent_coef_bounds` must be"),
        ({"ent_coef_bounds": 3.0}, "`ent_coef_bounds` must be"),
        ({"use_sde": True}, "gSDE"),
    ],
    ids=str,
)
def test_refusals_with_discrete_actions(kwargs, message):
    with pytest.raises(ValueError, match=message):
        discrete(**kwargs)


def test_a_mixture_of_discrete_actions_is_refused():
    with pytest.raises(ValueError, match="`n_components=2` needs Box actions"):
        SoftAC("MlpPolicy", DiscreteTarget(), buffer_size=10, policy_kwargs={"n_components": 2})


def test_refusals_with_box_actions():
    with pytest.raises(ValueError, match="`use_sde=False`"):
        SoftAC("MlpPolicy", Target(), buffer_size=10, use_sde=True, actor_gradient="score_function")
    with pytest.raises(ValueError, match="`n_components=2` needs `use_sde=False`"):
        SoftAC("MlpPolicy", Target(), buffer_size=10, use_sde=True, policy_kwargs={"n_components": 2})


def test_v1_fixes_its_temperature_unless_told_to_learn_it():
    model = SoftAC("MlpPolicy", Target(), buffer_size=10, variant="v1")
    assert model.ent_coef_optimizer is None
    assert model.temperature.alpha().item() == 1.0
    learned = SoftAC("MlpPolicy", Target(), buffer_size=10, variant="v1", ent_coef="auto_0.5")
    assert learned.temperature.alpha().item() == pytest.approx(0.5)
