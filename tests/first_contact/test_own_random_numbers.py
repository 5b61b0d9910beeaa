"""An environment with random numbers of its own, as MinAtar's, does not end a run that saves checkpoints."""

import gymnasium as gym
import pytest

from sb3_softac import Resumable, SoftAC
from tests.helpers import SMALL, Target


class Game(Target):
    """State in an object that no file keeps, and no use of the seed."""

    def __init__(self) -> None:
        super().__init__(horizon=5)
        self.game = object()

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        self._step = 0
        return self.observation_space.sample(), {}


@pytest.fixture
def env() -> gym.Env:
    return Resumable(Game())


def test_a_checkpoint_is_saved_and_begins_a_new_episode(env, tmp_path):
    model = SoftAC("auto", env, **SMALL, seed=0, device="cpu").learn(22)
    saved = model.save_checkpoint(tmp_path)
    assert not saved.is_exact
    assert "seed it" in saved.reasons[0]
    loaded = SoftAC.load_checkpoint(tmp_path, Resumable(Game()), device="cpu")
    assert loaded.learn(10, reset_num_timesteps=False).num_timesteps == 32
