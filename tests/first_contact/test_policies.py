"""`SoftAC("auto", env)` takes the policy that reads the observations; a policy for others is refused by name."""

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack
from torch import nn

from sb3_softac import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftAC
from sb3_softac.networks.small_cnn import SmallCNN, SmallImagesExtractor
from tests.helpers import SMALL, DiscreteTarget, Target, dict_space, image_space

VECTOR = spaces.Box(-5.0, 5.0, (3,))
MINATAR = spaces.Box(0.0, 1.0, (10, 10, 4), bool)
MINIGRID = spaces.Box(0, 255, (7, 7, 3), np.uint8)
MINIGRID_DICT = spaces.Dict({"direction": spaces.Discrete(4), "image": MINIGRID})
SPACES = {
    "vector": (VECTOR, MlpPolicy, FlattenExtractor),
    "ids": (spaces.Discrete(5), MlpPolicy, FlattenExtractor),
    "switches": (spaces.MultiBinary(3), MlpPolicy, FlattenExtractor),
    "a table of numbers": (spaces.Box(-5.0, 5.0, (3, 3, 3)), MlpPolicy, FlattenExtractor),
    "image": (image_space(channels_first=False), CnnPolicy, NatureCNN),
    "MinAtar": (MINATAR, CnnPolicy, SmallCNN),
    "MinAtar, as many channels as rows": (spaces.Box(0.0, 1.0, (10, 10, 10), bool), CnnPolicy, SmallCNN),
    "MiniGrid": (MINIGRID, CnnPolicy, SmallCNN),
    "fractions": (spaces.Box(0.0, 1.0, (40, 40, 3)), CnnPolicy, SmallCNN),
    "a single pixel": (spaces.Box(0, 255, (1, 1, 3), np.uint8), CnnPolicy, SmallCNN),
    "Dict": (dict_space(), MultiInputPolicy, CombinedExtractor),
    "MiniGrid's Dict": (MINIGRID_DICT, MultiInputPolicy, SmallImagesExtractor),
}


@pytest.mark.parametrize("name", SPACES)
def test_auto_takes_the_policy_that_reads_the_observations(name, tmp_path):
    space, policy, extractor = SPACES[name]
    model = SoftAC("auto", DiscreteTarget(space), **SMALL, device="cpu").learn(20)
    assert type(model.policy) is policy
    assert type(model.actor.features_extractor) is type(model.critic.features_extractor) is extractor
    model.save(tmp_path / "agent")
    loaded = SoftAC.load(tmp_path / "agent", device="cpu")
    assert type(loaded.policy) is policy
    obs = model.env.reset()
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])


@pytest.mark.parametrize("space", [MINATAR, MINIGRID_DICT])
def test_a_policy_alone_is_saved_and_loaded_as_in_stable_baselines3(space, tmp_path):
    policy = SoftAC("auto", DiscreteTarget(space), **SMALL, device="cpu").policy
    policy.save(tmp_path / "policy")
    loaded = type(policy).load(tmp_path / "policy", device="cpu")
    obs = DiscreteTarget(space).reset(seed=0)[0]
    assert loaded.predict(obs, deterministic=True)[0] == policy.predict(obs, deterministic=True)[0]


def test_stacked_small_images_keep_their_channels():
    stacked = VecFrameStack(DummyVecEnv([lambda: DiscreteTarget(MINIGRID)]), 4)
    model = SoftAC("auto", stacked, **SMALL, device="cpu")
    assert first_convolution(model).in_channels == 12


def first_convolution(model: SoftAC) -> nn.Conv2d:
    return next(module for module in model.actor.modules() if isinstance(module, nn.Conv2d))


def test_frames_that_are_stacked_and_transposed_are_read_by_their_rows():
    model = SoftAC("CnnPolicy", DiscreteTarget(spaces.Box(0, 255, (4, 10, 12), np.uint8)), **SMALL, device="cpu")
    assert first_convolution(model).in_channels == 4


def test_images_that_are_normalised_by_others_are_still_images():
    policy_kwargs = {"net_arch": [16], "normalize_images": False}
    space = spaces.Box(-5.0, 5.0, (3, 9, 9))
    model = SoftAC("CnnPolicy", Target(space), **SMALL | {"policy_kwargs": policy_kwargs}, device="cpu").learn(20)
    assert type(model.actor.features_extractor) is SmallCNN
    large = spaces.Dict({"large": spaces.Box(-5.0, 5.0, (3, 36, 36)), "small": space})
    model = SoftAC("auto", Target(large), **SMALL | {"policy_kwargs": policy_kwargs}, device="cpu").learn(20)
    extractors = model.actor.features_extractor.extractors
    assert {key: type(extractor) for key, extractor in extractors.items()} == {"large": NatureCNN, "small": SmallCNN}


@pytest.mark.parametrize(
    ("policy", "space", "message"),
    [
        ("MlpPolicy", dict_space(), "is for observations that are no Dict.*pass 'MultiInputPolicy', or 'auto'"),
        (MlpPolicy, dict_space(), "'MlpPolicy'.*pass 'MultiInputPolicy'"),
        ("CnnPolicy", dict_space(), "pass 'MultiInputPolicy'"),
        ("CnnPolicy", VECTOR, "is for images.*pass 'MlpPolicy', or 'auto'"),
        ("CnnPolicy", spaces.Discrete(3), "pass 'MlpPolicy'"),
        ("CnnPolicy", spaces.Box(-5.0, 5.0, (3, 9, 9)), "normalize_images=False"),
        ("MultiInputPolicy", VECTOR, "is for Dict observations.*pass 'MlpPolicy'"),
        ("MultiInputPolicy", image_space(), "pass 'CnnPolicy'"),
        ("Mlp", VECTOR, "'auto', 'MlpPolicy', 'CnnPolicy', 'MultiInputPolicy' or a subclass.*'Mlp' was given"),
    ],
)
def test_a_policy_for_other_observations_is_refused(policy, space, message):
    with pytest.raises(ValueError, match=message):
        SoftAC(policy, Target(space), device="cpu")


def test_own_features_and_own_policies_read_what_they_like():
    class Own(SmallCNN):
        pass

    class OwnPolicy(MlpPolicy):
        default_features_extractor_class = Own

    large = image_space()
    model = SoftAC("MlpPolicy", Target(large), policy_kwargs={"features_extractor_class": Own}, buffer_size=10)
    assert type(model.actor.features_extractor) is Own
    assert type(SoftAC(OwnPolicy, Target(large), buffer_size=10).actor.features_extractor) is Own
    flat = SoftAC("MlpPolicy", Target(large), buffer_size=10)
    assert type(flat.actor.features_extractor) is FlattenExtractor


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Text(4), "gives a Box or a Dict of Boxes"),
        (spaces.Tuple((VECTOR, spaces.Discrete(2))), r"gymnasium\.wrappers\.FlattenObservation"),
        (spaces.Dict({"a": spaces.Dict({"b": VECTOR})}), r"'a' is Dict.*FlattenObservation"),
        (
            spaces.Dict({"image": MINIGRID, "mission": spaces.Text(4)}),
            r"'mission' is Text.*FilterObservation\(env, \['image'\]\)",
        ),
    ],
)
def test_observations_that_no_policy_reads_are_named_with_a_remedy(space, message):
    with pytest.raises(ValueError, match=message):
        SoftAC("auto", Target(space), device="cpu")


def test_auto_needs_an_environment():
    with pytest.raises(ValueError, match="`env` must be an environment or its id"):
        SoftAC("auto", None)
