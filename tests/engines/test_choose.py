"""Every engine makes the updates of the plain one."""

import copy
import warnings
from unittest.mock import patch

import pytest
import torch as th
from gymnasium import spaces
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.engines import choose
from tests.configurations import BOX, DISCRETE
from tests.engines.replays import FakeCapture, assert_same_training, early_graphs, make, n_graphs, replayed  # noqa: F401
from tests.helpers import Target, dict_space, fixed_samples, image_space, random_samples

pytestmark = pytest.mark.filterwarnings("ignore:`precision='bfloat16'` works on this CPU")


@pytest.mark.parametrize("case", BOX)
def test_fused_equals_eager_for_box_actions(case):
    models = [make(engine, Target(), **BOX[case]) for engine in ("eager", "auto")]
    assert_same_training(*models, random_samples(5, batch_size=40, dtype=th.float64), tolerance=1e-9)


@pytest.mark.parametrize("case", ["default", "v1", "five critics", "layer norm", "CrossQ", "mixture", "score function"])
def test_fused_equals_eager_in_single_precision_and_full_size(case):
    """As users run it: the products and layouts of wide layers, which small networks do not reach."""
    kwargs = copy.deepcopy(BOX[case])
    kwargs.setdefault("policy_kwargs", {})["net_arch"] = [256, 256]
    models = [make(engine, Target(spaces.Box(-1.0, 1.0, (17,))), **kwargs) for engine in ("eager", "fused")]
    samples = random_samples(5, batch_size=256, obs_dim=17)
    for model in models:
        th.manual_seed(11)
        fixed_samples(model, copy.deepcopy(samples))
        model.train(len(samples), batch_size=256)
    plain = models[0].policy.state_dict()
    for name, value in models[1].policy.state_dict().items():
        # Adam steps as far where a gradient is only rounding: few entries may differ by a step.
        assert (value - plain[name]).float().abs().mean() < 1e-5, name


@pytest.mark.parametrize("case", DISCRETE)
def test_fused_equals_eager_for_discrete_actions(case):
    samples = random_samples(5, batch_size=40, dtype=th.float64)
    samples = [batch._replace(actions=(batch.actions[:, :1] > 0).long()) for batch in samples]
    env = Target(action_space=spaces.Discrete(2))
    models = [make(engine, env, **BOX[case]) for engine in ("eager", "auto")]
    assert_same_training(*models, samples, tolerance=1e-9)


@pytest.mark.parametrize(("policy", "space"), [("CnnPolicy", image_space()), ("MultiInputPolicy", dict_space())])
def test_fused_equals_eager_with_a_features_extractor(policy, space):
    # By plain gradient descent: Adam's steps are as large where a gradient is only rounding.
    settings = {"batch_size": 40, "learning_rate": 1e-2, "policy_kwargs": {"optimizer_class": th.optim.SGD}}
    eager, fused = (make(engine, Target(space), policy, **settings).learn(30) for engine in ("eager", "fused"))
    before = make("eager", Target(space), policy, **settings).policy.state_dict()
    trained = eager.policy.state_dict()
    assert sum(not th.equal(trained[name], before[name]) for name in trained) > len(trained) / 2
    th.testing.assert_close(fused.policy.state_dict(), trained, rtol=1e-4, atol=1e-5)


REPLAYED = ["default", "v1", "layer norm", "score function", "clipped", "REDQ", "v1, REDQ", "AdamW"]
REPLAYED += ["batch norm", "v1, batch norm"]


@pytest.mark.usefixtures("early_graphs")
@pytest.mark.parametrize("engine", ["cuda_graph", "traced"])
@pytest.mark.parametrize("case", REPLAYED)
def test_a_replayed_update_equals_the_plain_one(case, engine):
    """What a CUDA graph needs, without a GPU: batches in place, and learning rates as tensors, in single precision."""
    # Targets that move at every second step have two graphs. A trace of each takes seconds, a stand-in for CUDA's none;
    # the next test has traces of each kind.
    n_kinds = 2 if engine == "cuda_graph" else 1
    settings = {"tau": 0.5, "target_update_interval": n_kinds, **BOX[case]}
    plain, graph = make("eager", Target(), **settings), replayed(engine, **settings)
    assert_same_training(plain, graph, random_samples(12, batch_size=40, dtype=th.float64), tolerance=1e-8)
    assert n_graphs(graph) == n_kinds
    for model in (plain, graph):
        model.learning_rate = 1e-2
        model._setup_lr_schedule()
    assert_same_training(plain, graph, random_samples(12, batch_size=40, dtype=th.float64), tolerance=1e-8)
    assert n_graphs(graph) == n_kinds  # the new learning rate is in the old graph
    assert graph.actor.optimizer.param_groups[0]["lr"].item() == pytest.approx(1e-2)


@pytest.mark.usefixtures("early_graphs")
@pytest.mark.parametrize("engine", ["cuda_graph", "traced"])
@pytest.mark.parametrize(
    ("case", "n_kinds"), [("delayed", 2), ("v1, delayed", 2), ("delayed, score function", 4), ("CrossQ", 2)]
)
def test_a_graph_for_steps_with_the_actor_and_one_for_those_without(case, n_kinds, engine):
    """Targets move every second step, the actor every second or every third."""
    settings = {"tau": 0.5, "target_update_interval": 2, **BOX[case]}
    plain, graph = make("eager", Target(), **settings), replayed(engine, **settings)
    assert_same_training(plain, graph, random_samples(30, batch_size=40, dtype=th.float64), tolerance=1e-8)
    assert n_graphs(graph) == n_kinds


@pytest.mark.usefixtures("early_graphs")
@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.Dict({"id": spaces.MultiDiscrete([2, 3])})], ids=str)
def test_observations_that_are_ids_are_captured(space):
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    model = make("auto", Target(space), policy, batch_size=16).learn(40)  # that it cannot be would warn
    assert n_graphs(model) == 1


def test_a_graph_may_hold_networks_that_stay_plain():
    with patch("sb3_softac.engines.keeper.choose_engine", lambda *_, **__: "cuda_graph"):
        model = make("cuda_graph", Target(), policy_kwargs={"activation_fn": nn.ELU})
    assert not model.actor.latent_pi.is_fused


def test_settings_of_a_graph_do_not_outlive_it(tmp_path):
    model = make("eager", Target(), batch_size=16)
    model._engine.name = "cuda_graph"
    with patch.dict(choose.CAPTURES, cuda_graph=lambda device: FakeCapture()):
        model.learn(30)
    model.save(tmp_path / "agent")
    loaded = SoftAC.load(tmp_path / "agent", Target())
    loaded.learn(20)
    group = loaded.actor.optimizer.param_groups[0]
    assert type(group["lr"]) is float
    assert group["capturable"] is False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::torch")  # its own, while it compiles
def test_compiled_networks_equal_plain_ones():
    models = [make(engine, Target()) for engine in ("eager", "compile")]
    for model in models:
        th.manual_seed(11)
        fixed_samples(model, random_samples(3, batch_size=40))
        model.train(3, batch_size=40)
    th.testing.assert_close(models[1].policy.state_dict(), models[0].policy.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not th.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("engine", ["fused", "cuda_graph", "compile"])
def test_engines_train_on_a_gpu(engine):
    """That they train equally, `python -m benchmarks.gpu` shows."""
    model = SoftAC("MlpPolicy", Target(), learning_starts=50, buffer_size=500, seed=3, device="cuda", engine=engine)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(100)
    for old, parameter in zip(before, model.policy.parameters(), strict=True):
        assert parameter.isfinite().all()
        assert not th.equal(old, parameter)


def test_engine_may_change_between_a_checkpoint_and_its_loading(tmp_path):
    model = make("fused", Target(), batch_size=16)
    model.learn(30)
    assert model.critic.optimizer.param_groups[0]["fused"] is True
    model.save(tmp_path / "agent")
    for engine, fused in (("eager", False), ("fused", True)):
        loaded = SoftAC.load(tmp_path / "agent", Target(), engine=engine)
        loaded.learn(20)
        assert loaded.critic.optimizer.param_groups[0]["fused"] is fused


def test_parameters_that_are_loaded_later_are_trained():
    model, other = make("fused", Target(), batch_size=16), make("eager", Target(), batch_size=16)
    model.learn(20)
    other.learn(20)
    model.set_parameters(other.get_parameters())
    model.learn(20)
    before = other.policy.state_dict()
    assert all(not th.equal(value, before[name]) for name, value in model.critic.state_dict(prefix="critic.").items())
    assert model.critic.optimizer.param_groups[0]["fused"] is True


def test_bfloat16_trains_in_single_precision():
    model = make("auto", Target(), batch_size=40, precision="bfloat16")
    model.learn(60)
    exact = make("auto", Target(), batch_size=40)
    exact.learn(60)
    for name, value in model.policy.state_dict().items():
        assert value.dtype is th.float32
        assert (value - exact.policy.state_dict()[name]).abs().max() < 0.05
    state = model.actor.optimizer.state[model.actor.mu.weight]
    assert state["exp_avg"].dtype is th.float32


def test_bfloat16_says_which_layers_it_leaves_in_single_precision():
    with pytest.warns(UserWarning, match="leaves a network in float32: ELU"):
        make("auto", Target(), precision="bfloat16", policy_kwargs={"activation_fn": nn.ELU})


def test_bfloat16_without_the_instructions_works_and_warns():
    with (
        patch.object(choose, "has_bfloat16_products", lambda: False),
        pytest.warns(UserWarning, match="no instructions.*slower"),
    ):
        model = make("auto", Target(), batch_size=16, precision="bfloat16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(20)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"engine": "cuda_graph"}, "needs the device 'cuda', but.*pass 'auto'"),
        ({"engine": "warp"}, "`engine` must be one of"),
        ({"engine": "auto", "precision": "float16"}, "`precision` must be one of"),
        ({"engine": "eager", "precision": "bfloat16"}, "needs the products of `engine='fused'`"),
        ({"engine": "fused", "policy_kwargs": {"activation_fn": nn.ELU}}, "cannot run this policy: ELU"),
        ({"engine": "traced", "policy_kwargs": {"optimizer_class": th.optim.SGD}}, "cannot hold the optimizer SGD"),
    ],
)
def test_what_cannot_run_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(env=Target(), **kwargs)


@pytest.mark.parametrize(
    ("net_arch", "action_space"),
    [([256, 256], spaces.Discrete(4)), ([1024], spaces.Box(-1.0, 1.0, (2,)))],
    ids=["discrete", "wide"],
)
def test_bfloat16_does_not_round_values(net_arch, action_space):
    """At 300 neighbours in bfloat16 are 2 apart: critics could not rank actions."""
    kwargs = {"precision": "bfloat16", "engine": "fused", "policy_kwargs": {"net_arch": net_arch}, "buffer_size": 10}
    model = SoftAC("MlpPolicy", Target(action_space=action_space), seed=0, **kwargs)
    with th.no_grad():
        for network in model.critic.q_networks:
            network[-1].bias.fill_(300.0)
    actions = th.zeros(256, 1) if isinstance(action_space, spaces.Discrete) else th.zeros(256, 2)
    assert model.critic.q_taken(th.randn(256, 3), actions)[0].unique().numel() > 200


def test_bfloat16_normalises_observations_before_it_rounds_them():
    """What is far from zero loses its digits in bfloat16, and keeps them if it is centred first."""
    policy_kwargs = {"batch_norm": True, "net_arch": [64]}
    models = [
        SoftAC(
            "MlpPolicy", Target(), seed=0, buffer_size=10, engine="fused", precision=each, policy_kwargs=policy_kwargs
        )
        for each in ("float32", "bfloat16")
    ]
    observations = 1000.0 + th.randn(256, 3)
    for model in models:
        model.critic.set_training_mode(True)
    values = [model.critic.q_taken(observations, th.zeros(256, 2))[0].flatten() for model in models]
    assert th.corrcoef(th.stack(values))[0, 1] > 0.99


@pytest.mark.parametrize("action_space", [None, spaces.Discrete(3)])
def test_bfloat16_is_for_learning_and_not_for_acting(action_space):
    kwargs = {"precision": "bfloat16", "engine": "fused", "policy_kwargs": {"net_arch": [256, 256]}, "seed": 0}
    model = SoftAC("MlpPolicy", Target(action_space=action_space), buffer_size=10, **kwargs)
    observations = th.randn(64, 3)
    model.policy.set_training_mode(False)
    with th.no_grad():
        together = model.actor.latent(observations), model.actor.support(observations).log_pi
        one_by_one = th.cat([model.actor.latent(row) for row in observations.split(1)])
    th.testing.assert_close(together[0], one_by_one, atol=1e-6, rtol=1e-5)
    model.policy.set_training_mode(True)
    with th.no_grad():
        assert not th.allclose(model.actor.latent(observations), one_by_one, atol=1e-6, rtol=1e-5)
