"""Images: random shifts of a batch, an extractor that the critics train, and a faster one."""

import copy
import time
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBufferSamples
from stable_baselines3.common.torch_layers import NatureCNN

from sb3_softac import SoftAC
from sb3_softac.networks.images import FastCNN, RandomShift
from tests.engines.replays import early_graphs, n_graphs  # noqa: F401
from tests.helpers import (
    DiscreteTarget,
    Target,
    dict_space,
    fixed_samples,
    moved_since,
    parameters_of,
    ready,
)

SPACE = spaces.Box(0, 255, (2, 7, 9), np.uint8)


# Random shifts


def shifted_by_hand(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """By padding with the edge and cropping."""
    padded = np.pad(image, [(0, 0), (3, 3), (3, 3)], mode="edge")
    return padded[:, 3 + rows : 3 + rows + image.shape[1], 3 + columns : 3 + columns + image.shape[2]]


def test_a_shift_is_a_crop_of_the_padded_image():
    images = th.randint(0, 256, (20, 2, 7, 9), dtype=th.uint8)
    th.manual_seed(0)
    result = RandomShift(SPACE, 3)(images)
    th.manual_seed(0)
    offsets = th.randint(-3, 4, (2, 20, 1)).squeeze(-1).T
    for before, after, (rows, columns) in zip(images, result, offsets.tolist(), strict=True):
        np.testing.assert_array_equal(after, shifted_by_hand(before.numpy(), rows, columns))
    assert result.dtype is th.uint8


def test_every_shift_is_as_probable():
    image = th.zeros(1, 1, 9, 9, dtype=th.uint8)
    image[..., 4, 4] = 1
    shifted = RandomShift(spaces.Box(0, 255, (1, 9, 9), np.uint8), 2)(image.expand(5000, -1, -1, -1)).float()
    where = shifted.sum(dim=(0, 1))
    assert where[2:7, 2:7].sum() == 5000
    assert where[2:7, 2:7].min() > 130  # of 200
    assert where[2:7, 2:7].max() < 270


def test_only_the_images_of_a_dict_are_shifted():
    obs = {"image": th.randint(0, 256, (8, 1, 36, 36), dtype=th.uint8), "vector": th.rand(8, 2)}
    result = RandomShift(dict_space(), 4)(obs)
    assert result["vector"] is obs["vector"]
    assert not th.equal(result["image"], obs["image"])


@pytest.mark.parametrize(
    ("space", "pixels", "message"),
    [
        (spaces.Box(-1.0, 1.0, (3,)), 4, r"`image_shift=4` finds no images in Box.*Pass 0"),
        (SPACE, 7, r"`image_shift` must be less than the 7 pixels"),
    ],
)
def test_what_cannot_be_shifted_is_refused(space, pixels, message):
    with pytest.raises(ValueError, match=message):
        RandomShift(space, pixels)


# Agents


IMAGE = spaces.Box(0, 255, (1, 16, 16), np.uint8)
SMALL: dict[str, Any] = {"learning_starts": 8, "batch_size": 8, "buffer_size": 100, "seed": 0, "device": "cpu"}


def agent(
    space: spaces.Space | None = None, discrete: bool = False, policy_kwargs: Any = None, **kwargs: Any
) -> SoftAC:
    env = (DiscreteTarget if discrete else Target)(space or IMAGE)
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "CnnPolicy"
    extractor = {} if isinstance(space, spaces.Dict) else {"features_extractor_class": FastCNN}
    policy_kwargs = {"net_arch": [16], **extractor} | (policy_kwargs or {})
    return SoftAC(policy, env, policy_kwargs=policy_kwargs, **SMALL | kwargs)


def samples(n_batches: int, discrete: bool = False) -> list[ReplayBufferSamples]:
    generator = th.Generator().manual_seed(0)
    return [
        ReplayBufferSamples(
            th.randint(0, 256, (8, *IMAGE.shape), generator=generator, dtype=th.uint8),
            th.zeros(8, 1) if discrete else th.rand(8, 2, generator=generator),
            th.randint(0, 256, (8, *IMAGE.shape), generator=generator, dtype=th.uint8),
            th.zeros(8, 1),
            th.rand(8, 1, generator=generator),
            None,
        )
        for _ in range(n_batches)
    ]


def train(model: SoftAC, n_batches: int, discrete: bool = False) -> SoftAC:
    th.manual_seed(5)
    fixed_samples(ready(model), samples(n_batches, discrete))
    model.train(n_batches, 8)
    return model


def encoder_gradients(model: SoftAC) -> list[bool]:
    """Whether the loss of the critics, and then that of the actor, reaches the actor's features extractor."""
    found = []
    own = list(model.actor.features_extractor.parameters())
    for optimizer in (model.critic.optimizer, model.actor.optimizer):
        params = {id(each) for group in optimizer.param_groups for each in group["params"]}
        found.append(all(id(each) in params for each in own))
    return found


@pytest.mark.parametrize(
    ("shared", "trained_by"), [(True, [False, True]), ("critic", [True, False]), (False, [False, True])], ids=str
)
def test_whose_optimizer_has_the_encoder(shared, trained_by):
    model = agent(policy_kwargs={"share_features_extractor": shared})
    assert encoder_gradients(model) == trained_by
    assert (model.critic.features_extractor is model.actor.features_extractor) is bool(shared)
    assert model.critic_target.features_extractor is not model.critic.features_extractor
    in_all = [
        id(each)
        for name in ("actor", "critic")
        for group in getattr(model, name).optimizer.param_groups
        for each in group["params"]
    ]
    assert len(in_all) == len(set(in_all))


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize(
    "kwargs", [{}, {"variant": "v1"}, {"actor_gradient": "score_function"}, {"target_networks": False}], ids=str
)
def test_only_the_critics_train_a_shared_encoder(kwargs, discrete):
    """With a learning rate of zero for the critics it stays, whatever the actor learns; and the other way round."""
    for zero, moves in (("critic_learning_rate", False), ("actor_learning_rate", True)):
        model = agent(policy_kwargs={"share_features_extractor": "critic"}, discrete=discrete, **kwargs, **{zero: 0.0})
        before = parameters_of(model)
        train(model, 2, discrete)
        encoder = {name for name in before if name.startswith("actor.features_extractor")}
        changed = {name for name, value in model.policy.state_dict().items() if not th.equal(value, before[name])}
        assert bool(encoder & changed) is moves
        heads = {name for name in changed if name.startswith(("actor.mu", "actor.logits"))}
        assert bool(heads) is not moves
    assert "critic" in moved_since(before, model)


@pytest.mark.usefixtures("early_graphs")
@pytest.mark.parametrize("engine", ["fused", "traced", "cuda_graph"])
@pytest.mark.parametrize("kwargs", [{}, {"variant": "v1", "actor_gradient": "score_function"}], ids=str)
def test_every_engine_draws_the_shifts_of_the_plain_one(engine, kwargs):
    policy_kwargs = {"share_features_extractor": "critic", "image_shift": 3, "optimizer_class": th.optim.AdamW}
    plain = agent(policy_kwargs=policy_kwargs, engine="eager", **kwargs)
    fast = agent(policy_kwargs=policy_kwargs, engine="eager" if engine == "cuda_graph" else engine, **kwargs)
    fast._engine.name = engine
    for model in (plain, fast):
        train(model, 12)
    if engine != "fused":
        assert n_graphs(fast) == 1
    ours, theirs = fast.policy.state_dict(), plain.policy.state_dict()
    for name, value in theirs.items():
        # Adam steps as far where a gradient is only rounding: few entries may differ by a step.
        assert (ours[name] - value).float().abs().mean() < 1e-5, name


def test_shifts_are_for_learning_alone():
    model = agent(policy_kwargs={"image_shift": 3}).learn(20)
    obs = np.stack([model.observation_space.sample() for _ in range(4)])
    with patch.object(RandomShift, "__call__", side_effect=AssertionError):
        actions = model.predict(obs, deterministic=True)[0]
    np.testing.assert_array_equal(actions, model.predict(obs, deterministic=True)[0])


@pytest.mark.parametrize("space", [None, dict_space()], ids=["image", "Dict"])
@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_agents_train_and_are_loaded(space, variant, tmp_path):
    policy_kwargs = {"share_features_extractor": "critic", "image_shift": 2, "normalize_obs": space is not None}
    model = agent(space, policy_kwargs=policy_kwargs, variant=variant, actor_tau=0.1).learn(20)
    model.save(tmp_path / "agent")
    loaded = SoftAC.load(tmp_path / "agent", env=model.get_env())
    obs = model.observation_space.sample()
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    assert loaded.actor.features_extractor is loaded.critic.features_extractor
    loaded.learn(12, reset_num_timesteps=False)
    assert copy.deepcopy(loaded).policy.settings == loaded.policy.settings


@pytest.mark.parametrize(
    ("name", "value"), [("share_features_extractor", "actor"), ("share_features_extractor", 1), ("image_shift", -1)]
)
def test_a_wrong_argument_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        agent(policy_kwargs={name: value})


@pytest.mark.gpu
@pytest.mark.skipif(not th.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("engine", ["fused", "cuda_graph"])
def test_observations_are_prepared_on_a_gpu(engine):
    policy_kwargs = {"share_features_extractor": "critic", "image_shift": 3, "normalize_obs": True}
    model = agent(dict_space(), policy_kwargs=policy_kwargs, engine=engine, device="cuda").learn(60)
    assert model.policy.obs_normalizer.mean.is_cuda
    assert model.policy.obs_normalizer.count == 60
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


# The faster extractor


@pytest.mark.parametrize("side", [16, 32, 48, 84])
def test_features_are_few_and_bounded(side):
    extractor = FastCNN(spaces.Box(0, 255, (3, side, side), np.uint8), features_dim=20)
    features = extractor(th.rand(5, 3, side, side))
    assert features.shape == (5, 20)
    assert features.abs().max() <= 1.0


def test_it_is_faster_than_nature_cnn():
    space = spaces.Box(0, 255, (9, 84, 84), np.uint8)
    images, best = th.rand(16, 9, 84, 84), {}
    extractors = [FastCNN(space), NatureCNN(space)]
    for _ in range(5):
        for extractor in extractors:
            began = time.process_time()
            extractor(images).sum().backward()
            best[type(extractor)] = min(best.get(type(extractor), 9.0), time.process_time() - began)
    assert best[FastCNN] < 0.7 * best[NatureCNN]


@pytest.mark.parametrize("space", [spaces.Box(-1.0, 1.0, (3,)), spaces.Box(0, 255, (3, 12, 40), np.uint8)], ids=str)
def test_what_is_no_image_is_refused(space):
    with pytest.raises(ValueError, match="`FastCNN` reads images with sides of at least 16 pixels"):
        FastCNN(space)
