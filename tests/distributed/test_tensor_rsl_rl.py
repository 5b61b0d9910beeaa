"""Environments of rsl_rl's contract, by one adapter."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_softac import SoftAC
from sb3_softac.distributed import RslRlVecEnv
from tests.helpers import SMALL


class Robot:
    """Two robots of rsl_rl's contract: the first falls after two steps, the second has time for three."""

    num_envs, num_actions, device = 2, 3, "cpu"

    def __init__(self, in_groups=True, final_obs=True, privileged=False):
        self.in_groups, self.final_obs, self.privileged = in_groups, final_obs, privileged
        self.lengths = th.zeros(2)
        self.actions = []
        self.seeded = None

    def get_observations(self):
        obs = self.lengths.unsqueeze(1).repeat(1, 4)
        return {"policy": obs, "critic": obs[:, :2]} if self.in_groups else obs

    def reset(self):
        self.lengths.zero_()
        return self.get_observations(), {}

    def seed(self, seed):
        self.seeded = seed

    def step(self, actions):
        self.actions.append(actions.clone())
        self.lengths += 1
        fallen, late = th.tensor([True, False]) & (self.lengths == 2), self.lengths == 3
        dones = fallen | late
        extras = {"time_outs": late}
        if self.final_obs:
            extras["final_obs"] = self.get_observations()
        self.lengths[dones] = 0
        obs = self.get_observations()
        return (obs, *([None] if self.privileged else []), th.ones(2), dones.long(), extras)


def wrapped(robot, **kwargs):
    env = RslRlVecEnv(robot, -1.0, 1.0, **kwargs)
    env.reset()
    return env


@pytest.mark.parametrize("robot", [Robot(), Robot(in_groups=False), Robot(in_groups=False, privileged=True)])
def test_falls_and_time_limits_are_told_apart(robot):
    env = wrapped(robot)
    steps = [env.step_tensors(th.zeros(2, 3)) for _ in range(3)]
    assert [step.terminated.tolist() for step in steps] == [[False, False], [True, False], [False, False]]
    assert [step.truncated.tolist() for step in steps] == [[False, False], [False, False], [False, True]]
    assert steps[2].obs.tolist() == [[1.0] * 4, [0.0] * 4]
    assert steps[2].final_obs[1].tolist() == [3.0] * 4


def test_bounds_of_the_space_are_taken():
    robot = Robot()
    robot.single_action_space = spaces.Box(-2.0, 3.0, (3,))
    assert RslRlVecEnv(robot).action_space == robot.single_action_space
    assert RslRlVecEnv(robot, action_high=1.0).action_space == spaces.Box(-2.0, 1.0, (3,))


def test_bounds_of_each_joint_reach_the_simulator():
    robot = Robot()
    env = RslRlVecEnv(robot, [-1.0, -2.0, -3.0], [0.0, 2.0, 4.0])
    SoftAC("MlpPolicy", env, **SMALL).learn(100)
    actions = th.cat(robot.actions)
    low, high = th.tensor([-1.0, -2.0, -3.0]), th.tensor([0.0, 2.0, 4.0])
    assert (actions >= low).all()
    assert (actions <= high).all()
    assert (actions.amax(0) - actions.amin(0) > 0.7 * (high - low)).all()


def test_several_groups_become_a_dict():
    env = wrapped(Robot(), group=["policy", "critic"])
    assert {name: space.shape for name, space in env.observation_space.items()} == {"policy": (4,), "critic": (2,)}
    model = SoftAC("MultiInputPolicy", env, **SMALL).learn(100)
    assert model._n_updates > 0


def test_seeds_reach_the_simulator():
    env = wrapped(Robot())
    env.seed(7)
    assert env.simulator.seeded == 7


def test_no_last_observation_is_said_once():
    env = wrapped(Robot(final_obs=False))
    with pytest.warns(UserWarning, match="gave no last observation") as caught:
        SoftAC("MlpPolicy", env, **SMALL, gradient_steps=0).learn(1000)
    assert len([each for each in caught if "last observation" in str(each.message)]) == 1


def test_time_limits_of_which_nobody_knows_are_terminal_states():
    robot = Robot()
    robot.step = lambda actions: (*Robot.step(robot, actions)[:-1], {})
    step = wrapped(robot).step_tensors(th.zeros(2, 3))
    assert step.truncated is None
    assert step.terminated.dtype is th.bool


def test_actions_without_bounds_are_refused_with_a_remedy():
    robot = Robot()
    robot.single_action_space = spaces.Box(-np.inf, np.inf, (3,))
    with pytest.raises(ValueError, match=r"no bounds of its 3 actions.*`action_low` and `action_high`"):
        RslRlVecEnv(robot)


def test_bounds_of_another_size_are_refused():
    with pytest.raises(ValueError, match="must be numbers, or 3 numbers"):
        RslRlVecEnv(Robot(), [-1.0, -1.0], 1.0)


def test_an_unknown_group_is_refused_with_those_that_are_there():
    with pytest.raises(ValueError, match=r"`group='state'` was given, but .* groups \['critic', 'policy'\]"):
        RslRlVecEnv(Robot(), -1.0, 1.0, group="state")


def test_another_contract_is_refused():
    with pytest.raises(ValueError, match=r"object has no \['num_envs', 'num_actions', 'device'"):
        RslRlVecEnv(object())
