"""An exported policy acts as the model does, from the observation of the environment to the action in its bounds."""

import json
import sys
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.export import ExportError
from tests.helpers import SMALL, SMALL_DICT, DiscreteTarget, Target, dict_space, parameters_of

SMALL_KWARGS = SMALL["policy_kwargs"]
BOUNDS = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([1.0, 9.0], np.float32))
MASKED = spaces.Dict({"action_mask": spaces.MultiBinary(5), "state": spaces.Box(-1.0, 1.0, (3,))})
MANY = spaces.Dict(
    {
        "action": spaces.Box(-np.inf, np.inf, (2,), np.float64),  # a name that the output has, too
        "linear": spaces.Discrete(4, start=2),  # and one that PyTorch gives to a value in between
        "goal/id": spaces.MultiDiscrete([3, 2]),
        "0": spaces.MultiBinary(2),
    }
)


def with_policy(**kwargs: object) -> dict:
    return SMALL | {"policy_kwargs": SMALL_KWARGS | kwargs}


def normalized(space: spaces.Space | None = None) -> VecNormalize:
    """An environment whose observations are far from zero."""
    env = VecNormalize(DummyVecEnv([lambda: Target(space)]), clip_obs=5.0)
    env.obs_rms.mean, env.obs_rms.var = np.array([1e5 / 3.0, -40.0, 0.0]), np.array([2.0, 100.0, 1e-4])
    env.training = False
    return env


class Masked(Target):
    """Random masks, each of which allows the first action of both factors."""

    def __init__(self) -> None:
        super().__init__(MASKED, spaces.MultiDiscrete([2, 3]))

    def reset(self, **kwargs: object) -> tuple:
        observation, info = super().reset(**kwargs)
        return self._allowed(observation), info

    def step(self, action: np.ndarray) -> tuple:
        observation, *rest = super().step(action)
        return self._allowed(observation), *rest

    def _allowed(self, observation: dict) -> dict:
        observation["action_mask"][[0, 2]] = 1
        return observation


CASES: dict[str, Callable[[], SoftAC]] = {
    "Box": lambda: SoftAC("MlpPolicy", Target(action_space=BOUNDS), **with_policy(layer_norm=True)),
    "matrix of float64": lambda: SoftAC(
        "MlpPolicy", Target(action_space=spaces.Box(-3.0, 1.0, (2, 2), float)), **SMALL
    ),
    "Discrete": lambda: SoftAC("MlpPolicy", DiscreteTarget(), **SMALL),
    "masks": lambda: SoftAC("MultiInputPolicy", Masked(), **SMALL),
    "Dict": lambda: SoftAC("MultiInputPolicy", Target(dict_space()), **SMALL_DICT),
    "many inputs": lambda: SoftAC("MultiInputPolicy", Target(MANY), **SMALL),
    "mixture": lambda: SoftAC("MlpPolicy", Target(), **with_policy(n_components=3)),
    "gSDE": lambda: SoftAC("MlpPolicy", Target(), use_sde=True, **SMALL),
    "average, batch norm": lambda: SoftAC("MlpPolicy", Target(), actor_tau=0.3, **with_policy(batch_norm=True)),
    "VecNormalize": lambda: SoftAC("MlpPolicy", normalized(), **SMALL),
}


def sampled(inputs: list[dict], model: SoftAC, rows: int) -> dict[str, np.ndarray]:
    """Random observations, in the shape of the inputs."""
    space = model.observation_space
    parts = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
    values = {}
    for each in inputs:
        part = parts[each["name"]]
        part.seed(rows)
        values[each["name"]] = np.stack([part.sample() for _ in range(rows)]).astype(each["dtype"])
    if "action_mask" in values:
        values["action_mask"][:, [0, 2]] = 1
    if model.get_vec_normalize_env() is not None:
        statistics = model.get_vec_normalize_env().obs_rms
        noise = np.random.default_rng(rows).standard_normal((rows, 3))
        values["observation"] = (statistics.mean + 2.0 * np.sqrt(statistics.var) * noise).astype(np.float32)
    return values


def predicted(model: SoftAC, values: dict[str, np.ndarray]) -> np.ndarray:
    """Actions of the model itself."""
    observation = values if isinstance(model.observation_space, spaces.Dict) else values["observation"]
    if model.get_vec_normalize_env() is not None:
        observation = model.get_vec_normalize_env().normalize_obs(observation)
    return model.predict(observation, deterministic=True)[0]


@pytest.mark.parametrize("case", CASES)
def test_the_file_acts_as_predict_does(case, tmp_path, session):
    model = CASES[case]().learn(30)
    exported = model.export_onnx(tmp_path / "agent")
    assert exported.path == tmp_path / "agent.onnx"
    assert exported.difference <= exported.tolerance
    opened = session(exported.path)
    inputs = json.loads(opened.get_modelmeta().custom_metadata_map["inputs"])
    for rows in (1, 2, 40):
        values = sampled(inputs, model, rows)
        expected, actual = predicted(model, values), opened.run(None, values)[0]
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_the_metadata_says_all_that_a_program_needs(tmp_path):
    model = CASES["many inputs"]()
    exported = model.export_onnx(tmp_path / "agent.onnx", opset=20)
    content = onnx.load(exported.path)
    facts = {entry.key: json.loads(entry.value) for entry in content.metadata_props}
    assert [each.name for each in content.graph.input] == ["0", "action", "goal/id", "linear"]
    assert facts["inputs"] == [
        {"name": "0", "shape": ["batch", 2], "dtype": "int8"},
        {"name": "action", "shape": ["batch", 2], "dtype": "float32"},
        {"name": "goal/id", "shape": ["batch", 2], "dtype": "int64"},
        {"name": "linear", "shape": ["batch"], "dtype": "int64"},
    ]
    assert facts["output"] == {"name": "action_", "shape": ["batch", 2], "dtype": "float32"}
    assert facts["action_space"] == {"type": "Box", "shape": [2], "dtype": "float32", "low": -1.0, "high": 1.0}
    parts = facts["observation_space"]["spaces"]
    assert parts["action"] == {"type": "Box", "shape": [2], "dtype": "float64", "low": None, "high": None}
    assert parts["linear"] == {"type": "Discrete", "shape": [], "dtype": "int64", "n": 4, "start": 2}
    assert parts["goal/id"]["nvec"] == [3, 2]
    assert {"sb3_softac", "stable_baselines3", "torch"} == facts["versions"].keys()
    assert (facts["algorithm"], facts["deterministic"], facts["opset"]) == ("SoftAC", True, 20)
    assert content.opset_import[0].version == 20
    axes = [each.type.tensor_type.shape.dim[0].dim_param for each in [*content.graph.input, *content.graph.output]]
    assert axes == ["batch"] * 5
    assert b".py" not in exported.path.read_bytes()  # lines of the code that it came from


def test_the_result_prints_as_a_report(tmp_path):
    exported = CASES["Box"]().export_onnx(tmp_path / "agent.onnx", deterministic=False)
    assert str(exported).splitlines() == [
        f"Exported: {tmp_path / 'agent.onnx'} ({exported.n_bytes:,} bytes, opset 18)",
        "  input   observation: float32 (batch, 3)",
        "  input   noise: float32 (batch, 2), normal random numbers",
        "  output  action: float32 (batch, 2)",
        f"  largest difference from predict: {exported.difference:.1e} of 1e-04 allowed, in batches of 1, 3, 64",
    ]
    assert exported.n_bytes == exported.path.stat().st_size


def test_images_with_the_channels_last(tmp_path, session):
    model = SoftAC("CnnPolicy", Target(spaces.Box(0, 255, (36, 40, 3), np.uint8)), **SMALL)
    image = np.random.default_rng(0).integers(0, 256, (2, 36, 40, 3), np.uint8)
    opened = session(model.export_onnx(tmp_path / "agent", channels_last=True).path)
    np.testing.assert_allclose(
        opened.run(None, {"observation": image})[0], model.predict(image, deterministic=True)[0], atol=1e-5
    )


# The model stays as it is


def test_learning_goes_on_as_without_an_export(tmp_path):
    models = [SoftAC("MlpPolicy", Target(), **SMALL | {"engine": "traced", "seed": 0}).learn(70) for _ in range(2)]
    modes = [module.training for module in models[0].policy.modules()]
    models[0].export_onnx(tmp_path / "agent", deterministic=False)
    assert [module.training for module in models[0].policy.modules()] == modes
    assert models[0].actor.latent_pi.is_fused is models[1].actor.latent_pi.is_fused is True
    for model in models:
        set_random_seed(0)
        model.action_space.seed(0)
        model.env.seed(0)
        model.learn(10, reset_num_timesteps=False)
    ours, others = map(parameters_of, models)
    assert all(th.equal(ours[name], others[name]) for name in ours)


def test_random_numbers_are_not_used_up(tmp_path):
    model = CASES["gSDE"]()
    before = th.get_rng_state(), model.actor.sde_noise.draws()
    sampled_before = model.observation_space.np_random.bit_generator.state
    model.export_onnx(tmp_path / "agent", deterministic=False)
    assert th.equal(th.get_rng_state(), before[0])
    assert all(one is other for one, other in zip(model.actor.sde_noise.draws(), before[1], strict=True))
    assert model.observation_space.np_random.bit_generator.state == sampled_before


# What cannot be exported


class Extractor(BaseFeaturesExtractor):
    """Base of features extractors that a user may write."""

    def __init__(self, space: spaces.Space) -> None:
        super().__init__(space, features_dim=3)
        self.inner = nn.Linear(3, 3)


class Branching(Extractor):
    def forward(self, x: th.Tensor) -> th.Tensor:
        x = self.inner(x)
        return x if x.sum() > 0 else -x


class Unknown(Extractor):
    def forward(self, x: th.Tensor) -> th.Tensor:
        return th.special.bessel_j0(self.inner(x))


class Random(Extractor):
    def forward(self, x: th.Tensor) -> th.Tensor:
        return self.inner(x) + th.bernoulli(th.full_like(x, 0.5))


class Uncopied(Extractor):
    def __deepcopy__(self, memo: dict) -> None:
        raise TypeError("it holds a socket")


@pytest.mark.parametrize(
    ("extractor", "message"),
    [
        (Branching, r"The layer `actor.features_extractor` \(Branching\) cannot be exported: .*`torch.where`"),
        (Unknown, r"The layer `actor.features_extractor` \(Unknown\) cannot be exported to ONNX: .*bessel_j0"),
        (Random, "differs from `predict` by .*: no file was written. A layer of your own that is random"),
        (Uncopied, "The policy cannot be copied: TypeError: it holds a socket"),
    ],
)
def test_a_policy_that_cannot_be_exported_leaves_the_file_as_it_was(extractor, message, tmp_path, capfd):
    path = tmp_path / "agent.onnx"
    path.write_bytes(b"of last week")
    model = SoftAC("MlpPolicy", Target(), **with_policy(features_extractor_class=extractor))
    with pytest.raises(ExportError, match=message):
        model.export_onnx(path)
    assert path.read_bytes() == b"of last week"
    assert list(tmp_path.iterdir()) == [path]
    assert capfd.readouterr() == ("", "")  # PyTorch would print its whole graph


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "."}, "is a folder; name the file"),
        ({"path": "agent.zip"}, "must end with '.onnx'"),
        ({"opset": 17}, "`opset=17` must be 18 to 23"),
        ({"opset": 1.5}, "opset"),
        ({"tolerance": 0.0}, "`tolerance=0.0` must be above 0"),
        ({"tolerance": float("nan")}, "`tolerance=nan` must be above 0"),
        ({"channels_last": True}, "`channels_last=True` needs images"),
        ({"vec_normalize": 3}, "`vec_normalize=3` must be a VecNormalize"),
    ],
)
def test_wrong_arguments(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        CASES["Box"]().export_onnx(**{"path": "agent.onnx"} | arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_extra_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"needs {name} .*pip install 'sb3_softac\[export\]'"):
        CASES["Box"]().export_onnx(tmp_path / "agent.onnx")


def test_a_space_that_cannot_be_exported():
    from sb3_softac.exporting.inputs import parts_of

    with pytest.raises(ValueError, match=r"The observation 'text' is a Text.*cannot be exported"):
        parts_of(spaces.Dict({"text": spaces.Text(3)}))


# Statistics of VecNormalize


def test_statistics_of_a_file_for_a_dict(tmp_path, session):
    env = VecNormalize(DummyVecEnv([lambda: Target(MANY)]), norm_obs_keys=["action"], norm_reward=False)
    env.obs_rms["action"].mean, env.obs_rms["action"].var = np.array([30.0, -7.0]), np.array([4.0, 0.5])
    model = SoftAC("MultiInputPolicy", env, **SMALL)
    env.save(tmp_path / "vecnormalize.pkl")
    model.save(tmp_path / "agent.zip")
    loaded = SoftAC.load(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match=r"vecnormalize.pkl.* cannot be read: .*`allow_pickle=True`"):
        loaded.export_onnx(tmp_path / "agent", vec_normalize=tmp_path / "vecnormalize.pkl")
    exported = loaded.export_onnx(tmp_path / "agent", vec_normalize=tmp_path / "vecnormalize", allow_pickle=True)
    values = {each.name: np.ones(each.full_shape(2), each.dtype) for each in exported.inputs}
    values["linear"] += 1
    expected, _ = model.predict(env.normalize_obs(values), deterministic=True)
    np.testing.assert_allclose(session(exported.path).run(None, values)[0], expected, atol=1e-5)


def test_statistics_of_other_observations_are_refused(tmp_path):
    stacked = SoftAC("MlpPolicy", VecFrameStack(VecNormalize(DummyVecEnv([Target])), 2), **SMALL)
    with pytest.raises(ValueError, match=r"statistics of the shape \(3,\) for 'observation', but the policy observes"):
        stacked.export_onnx(tmp_path / "agent.onnx")
    other = VecNormalize(DummyVecEnv([lambda: Target(dict_space())]), norm_obs_keys=["vector"])
    with pytest.raises(ValueError, match=r"`VecNormalize` normalises \['vector'\], but the policy observes"):
        CASES["Box"]().export_onnx(tmp_path / "agent.onnx", vec_normalize=other)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"no pickle", "cannot be read"), (b"\x80\x04]\x94.", "holds a list")],
)
def test_a_file_that_holds_no_statistics(content, message, tmp_path):
    path = tmp_path / "vecnormalize.pkl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ValueError, OSError), match=message):
        CASES["Box"]().export_onnx(tmp_path / "agent.onnx", vec_normalize=path, allow_pickle=True)
