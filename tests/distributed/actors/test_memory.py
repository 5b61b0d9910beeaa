"""Observations in memory that processes share."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from sb3_softac.distributed.memory import ObservationMemory, arrays_in
from tests.helpers import dict_space

SPACES = [
    spaces.Box(-1.0, 1.0, (3,)),
    spaces.Discrete(5),
    dict_space(),
    spaces.Tuple([spaces.Box(0, 255, (2, 3), np.uint8), spaces.MultiBinary(3)]),
]


def leaves(space: spaces.Space, observation: Any) -> dict[Any, Any]:
    if isinstance(space, spaces.Dict):
        return dict(observation)
    return dict(enumerate(observation)) if isinstance(space, spaces.Tuple) else {None: observation}


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
@pytest.mark.parametrize("is_shared", [True, False])
def test_what_is_written_is_read(space, is_shared):
    memory = ObservationMemory(space, 4, "here")
    if memory.place is None:
        pytest.skip("the system has no such memory")
    given = [space.sample() for _ in range(2)]
    if is_shared:
        arrays = arrays_in(memory.place.open("here"), space, 4)
        for env, observation in enumerate(given, start=1):
            for key, value in leaves(space, observation).items():
                arrays[key][env] = value
    else:
        rows = [leaves(space, observation) for observation in given]
        sent = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        memory.write(range(1, 3), sent.get(None, sent))
    for env, observation in enumerate(given, start=1):
        found = leaves(space, memory.read_one(env))
        for key, value in leaves(space, observation).items():
            np.testing.assert_array_equal(found[key], value)
            np.testing.assert_array_equal(leaves(space, memory.read())[key][env], value)
    memory.close()


def test_other_machines_and_ended_processes_have_none_of_it():
    memory = ObservationMemory(SPACES[0], 2, "here")
    if memory.place is None:
        pytest.skip("the system has no such memory")
    assert memory.place.open("there") is None
    place = memory.place
    memory.close()
    assert place.open("here") is None


def test_a_copy_is_read():
    memory = ObservationMemory(SPACES[0], 2, "here")
    before = memory.read()
    memory.write(range(2), np.ones((2, 3), np.float32))
    assert before.max() == 0.0
    assert memory.read().min() == 1.0
    memory.close()
