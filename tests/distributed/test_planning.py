"""Plans of large runs, worked out by hand."""

import pytest

from sb3_softac.distributed.planning import (
    ACTING,
    SIMULATORS,
    UPDATES,
    Costs,
    computed_update_ms,
    plan,
    update_flop,
)

COSTS = Costs(simulator_us=1000.0, collecting_us=10.0, update_ms=20.0)


def test_the_longer_side_decides():
    """A round of 100 environments: 100 ms of the simulators beside 1 ms + 2 * 20 ms of the learner."""
    made = plan(COSTS, n_envs=100, updates_per_step=2)
    assert made.transitions_per_second == pytest.approx(1000.0)
    assert made.updates_per_second == pytest.approx(20.0)
    assert (made.simulators_busy, made.learner_busy) == pytest.approx((1.0, 0.41))
    assert (made.bottleneck, made.next_bottleneck) == (SIMULATORS, UPDATES)
    assert made.actors == 3  # 100 / 41
    assert made.updates_per_step == 4  # (100 - 1) / 20


def test_the_example_of_the_manual():
    made = plan(Costs(simulator_us=5000, collecting_us=10, update_ms=20), n_envs=100, updates_per_step=2)
    assert (made.bottleneck, made.actors, made.updates_per_step) == (SIMULATORS, 13, 24)


def test_more_actors_move_the_bottleneck_to_the_learner():
    made = plan(COSTS, n_envs=100, updates_per_step=2, n_actors=4)
    assert made.transitions_per_second == pytest.approx(100 / 0.041)
    assert (made.simulators_busy, made.learner_busy) == pytest.approx((25 / 41, 1.0))
    assert (made.bottleneck, made.next_bottleneck) == (UPDATES, SIMULATORS)
    assert plan(COSTS, 100, 2, n_actors=made.actors).learner_busy == 1.0


def test_environments_that_do_not_divide_wait_for_the_fullest_actor():
    assert plan(COSTS, 10, 0, n_actors=4).transitions_per_second == pytest.approx(10 / 0.003)


def test_one_after_the_other_takes_the_sum():
    made = plan(COSTS, n_envs=100, updates_per_step=2, overlap=False)
    assert made.transitions_per_second == pytest.approx(100 / 0.141)
    assert made.simulators_busy + made.learner_busy == pytest.approx(1.0)


def test_with_a_fast_simulator_acting_comes_next():
    made = plan(Costs(0.1, 10.0, 1.0), n_envs=4096, updates_per_step=50)
    assert (made.bottleneck, made.next_bottleneck) == (UPDATES, ACTING)
    assert (made.actors, made.updates_per_step) == (1, 0)


def test_without_a_learner_every_environment_may_have_an_actor():
    assert plan(Costs(1.0, 0.0, 0.0), 8, 0)[-2:] == (8, 0)


@pytest.mark.parametrize(
    ("costs", "arguments", "words"),
    [
        (COSTS._replace(update_ms=-1.0), (1, 1), "update_ms"),
        (COSTS, (0, 1), "n_envs"),
        (COSTS, (1, -1), "updates_per_step"),
        (COSTS, (1, 1, 0), "n_actors"),
        (Costs(0.0, 0.0, 0.0), (1, 1), "all of `costs` are 0"),
    ],
)
def test_what_is_out_of_range_is_refused(costs, arguments, words):
    with pytest.raises(ValueError, match=words):
        plan(costs, *arguments)


def test_operations_of_a_gradient_step():
    """Critics: 6 passes, actor: 4; each weight is multiplied and added once in a pass."""
    assert update_flop(1000, 100, batch_size=3) == 2 * (6 * 1000 + 4 * 100) * 3


def test_times_of_a_device_that_is_not_at_hand():
    assert computed_update_ms(6e9, tflops=20.0, part_of_peak=0.3) == pytest.approx(1.0)
    assert computed_update_ms(6e6, tflops=20.0) == 0.5
    with pytest.raises(ValueError, match="part_of_peak"):
        computed_update_ms(1.0, 1.0, part_of_peak=0.0)
