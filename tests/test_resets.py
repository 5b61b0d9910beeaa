"""Networks begin anew at the steps that are asked for, and the replay buffer stays."""

import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.engines.traced import TraceCapture
from tests.helpers import SMALL, DiscreteTarget, Target, dict_space, parameters_of

KWARGS = SMALL | {"seed": 0, "device": "cpu", "learning_starts": 20}


def distance(model: SoftAC, before: dict[str, th.Tensor]) -> float:
    return max((value - before[name]).abs().max().item() for name, value in parameters_of(model).items())


class Watch:
    """Notes after which environment steps the optimizers were empty before a training."""

    def __init__(self, model: SoftAC) -> None:
        self.steps: list[int] = []
        begin = model.policy.begin_anew

        def noted() -> None:
            self.steps.append(model.num_timesteps)
            begin()

        model.policy.begin_anew = noted


@pytest.mark.parametrize(("given", "expected"), [(30, [30, 60, 90]), ([25, 70], [25, 70]), (None, [])])
@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_resets_come_when_they_are_asked_for(given, expected, variant):
    model = SoftAC("MlpPolicy", Target(), engine="fused", reset_networks=given, variant=variant, **KWARGS)
    watch = Watch(model)
    model.learn(50).learn(45, reset_num_timesteps=False)
    assert watch.steps == expected
    assert model._n_resets == len(expected)
    model.learn(28)  # from zero on
    assert watch.steps == expected + [step for step in expected if step <= 28]


@pytest.mark.parametrize("env", [Target, DiscreteTarget])
@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_all_that_learns_begins_anew_and_nothing_else(env, variant):
    policy_kwargs = {"net_arch": [16], "batch_norm": True, "normalize_obs": True, "unit_norm_weights": "hidden"}
    kwargs = KWARGS | {"policy_kwargs": policy_kwargs, "variant": variant, "actor_tau": 0.1, "ent_coef": "auto_0.5"}
    model = SoftAC("MlpPolicy", env(), learning_rate=1e-2, **kwargs).learn(60)
    seen = {name: value.clone() for name, value in model.policy.obs_normalizer.state_dict().items()}
    rewards, before = model.replay_buffer.rewards.copy(), parameters_of(model)
    model.reset_networks = 60
    model.learning_rate = 0.0
    model.train(1, batch_size=16)
    fresh = SoftAC("MlpPolicy", env(), **kwargs)
    for name, value in model.policy.state_dict().items():
        if name.startswith("obs_normalizer."):
            th.testing.assert_close(value, seen[name.removeprefix("obs_normalizer.")], rtol=0, atol=0)
        elif name.endswith("weight") and value.dim() == 2:
            assert not th.equal(value, before[name]), name
            assert value.std().item() == pytest.approx(fresh.policy.state_dict()[name].std().item(), rel=0.5), name
    assert (model.replay_buffer.rewards == rewards).all()
    assert model.log_ent_coef.exp().item() == pytest.approx(0.5)
    for optimizers in model.optimizers().values():
        for optimizer in optimizers:
            assert {float(state["step"]) for state in optimizer.state.values()} <= {1.0}
    if variant == "v2":
        for name, value in model.critic_target.named_parameters():
            th.testing.assert_close(value, dict(model.critic.named_parameters())[name])


@pytest.mark.parametrize("engine", ["eager", "fused", "auto"])
def test_every_engine_goes_on_with_the_new_weights(engine, monkeypatch):
    monkeypatch.setattr(TraceCapture, "warm_ups", 5)
    model = SoftAC("MlpPolicy", Target(), engine=engine, reset_networks=[40], **KWARGS).learn(50)
    after = parameters_of(model)
    model.learn(20, reset_num_timesteps=False)  # long enough for a new trace
    assert distance(model, after) > 1e-4
    assert int(next(iter(model.critic.optimizer.state.values()))["step"]) == 70 - 39


# Keys of the actor and of the critics


def keyed(variant: str = "v2", **policy_kwargs) -> SoftAC:
    kwargs = KWARGS | {
        "policy_kwargs": {"net_arch": [8], "features_extractor_kwargs": {"cnn_output_dim": 8}} | policy_kwargs
    }
    return SoftAC("MultiInputPolicy", Target(dict_space()), variant=variant, **kwargs)


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_actor_and_critics_read_their_keys_alone(variant):
    model = keyed(variant=variant, actor_keys=["vector"], critic_keys=["vector", "image"])
    assert model.actor.features_extractor.features_dim == 2
    assert model.critic.features_extractor.features_dim == 10
    model.learn(40)
    space = model.observation_space
    space.seed(0)
    one, other = space.sample(), space.sample()
    seen = one | {"image": other["image"]}
    same, changed = (model.predict(each, deterministic=True)[0] for each in (one, seen))
    assert (same == changed).all()
    tensors = [model.policy.obs_to_tensor(each)[0] for each in (one, seen)]
    values = [model.critic.q_taken(each, th.zeros(1, 2)) for each in tensors]
    assert not th.equal(*values)


def test_keys_are_saved_and_exported(tmp_path):
    pytest.importorskip("onnxruntime")
    model = keyed(actor_keys=["vector"]).learn(30)
    model.save(tmp_path / "agent")
    loaded = SoftAC.load(tmp_path / "agent")
    observation = model.observation_space.sample()
    assert (
        loaded.predict(observation, deterministic=True)[0] == model.predict(observation, deterministic=True)[0]
    ).all()
    exported = model.export_onnx(tmp_path / "agent")
    assert "vector" in str(exported)


@pytest.mark.parametrize(
    ("policy_kwargs", "message"),
    [
        ({"actor_keys": ["velocity"]}, r"`actor_keys` must be .*\['image', 'vector'\]"),
        ({"critic_keys": []}, "`critic_keys` must be None or a list of keys"),
        ({"actor_keys": "vector"}, "`actor_keys` must be None or a list of keys"),
        ({"actor_keys": ["vector"], "share_features_extractor": True}, "`share_features_extractor=True` lets"),
    ],
    ids=str,
)
def test_other_keys_are_refused(policy_kwargs, message):
    with pytest.raises(ValueError, match=message):
        keyed(**policy_kwargs)


def test_keys_need_dict_observations():
    with pytest.raises(ValueError, match="`actor_keys` must be None or some of the keys of Dict observations"):
        SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs={"actor_keys": ["vector"]})
