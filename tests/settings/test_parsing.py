"""One value of an argument as a user may write it: whole numbers, numbers in strings, schedules."""

import numpy as np
import pytest
from stable_baselines3.common.utils import LinearSchedule

from sb3_softac import SoftAC
from sb3_softac.settings import parsing
from tests.helpers import Target, ready


def test_whole_numbers_may_be_floats():
    model = SoftAC("MlpPolicy", Target(), buffer_size=1e1, batch_size=np.int64(4), learning_starts=0.0)
    assert (model.buffer_size, model.batch_size, model.learning_starts) == (10, 4, 0)
    assert all(isinstance(value, int) for value in (model.buffer_size, model.learning_starts))


def test_numbers_of_numpy_are_numbers():
    assert parsing.whole_number("n", np.float32(20)) == 20
    assert parsing.whole_number("n", np.int64(20)) == 20
    with pytest.raises(ValueError, match="whole number"):
        parsing.whole_number("n", np.float32(20.5))


def test_numbers_may_be_strings_as_yaml_reads_them():
    model = SoftAC("MlpPolicy", Target(), buffer_size=10, learning_rate="1e-3", reward_scale="5", target_entropy="-1")
    assert model.lr_schedule(0.3) == 1e-3
    assert (model.reward_scale, model.target_entropy) == (5.0, -1.0)


def test_schedules():
    model = ready(
        SoftAC(
            "MlpPolicy",
            Target(),
            buffer_size=10,
            learning_rate="lin_1e-3",
            actor_learning_rate=LinearSchedule(1.0, 0.5, 1.0),
            critic_learning_rate=lambda progress: 2 * progress,
            target_entropy="lin_-4",
            reward_scale="lin_10_20",
        )
    )
    model._current_progress_remaining = 0.5
    model._update_learning_rates(model.current_settings())
    rates = [
        optimizer.param_groups[0]["lr"]
        for optimizer in (model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer)
    ]
    assert rates == pytest.approx([0.75, 1.0, 5e-4])
    assert model.current_settings().run.target_entropy.at(0.5) == (pytest.approx(-2.0), 0.0)
    assert parsing.value_at(model.current_settings().run.reward_scale, 0.75) == pytest.approx(12.5)
    assert {name: model.logger.name_to_value[f"train/{name}"] for name in ("learning_rate", "actor_learning_rate")} == {
        "learning_rate": pytest.approx(5e-4),
        "actor_learning_rate": pytest.approx(0.75),
    }
