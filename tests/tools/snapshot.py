"""One hash of what many configurations learn: equal before and after a change that should change nothing.

    python -m tests.tools.snapshot            # one line: the hash of all
    python -m tests.tools.snapshot --each     # a line for each configuration, to find the one that differs

The hash depends on the processor and on the versions of torch and numpy: compare two commits on one machine.
"""

import argparse
import copy
import hashlib
import warnings
from collections.abc import Iterator

import gymnasium as gym
import torch as th
from gymnasium import spaces

from sb3_softac import SoftAC
from tests.configurations import BOX, DISCRETE
from tests.helpers import Target, dict_space, image_space

N_STEPS = 75  # 65 updates: "traced" records after 50


def configurations() -> Iterator[tuple[str, dict]]:
    """Names, and arguments of ``SoftAC``."""
    vectors = {"policy": "MlpPolicy", "policy_kwargs": {"net_arch": [16, 16]}}
    for case in BOX:
        yield f"Box, {case}", vectors | {"env": Target()} | _merged(vectors, BOX[case])
    for case in DISCRETE:
        env = Target(action_space=spaces.Discrete(3))
        yield f"Discrete, {case}", vectors | {"env": env} | _merged(vectors, BOX[case])
    for sizes in ([2, 3], [20, 20, 20]):
        env: gym.Env = Target(action_space=spaces.MultiDiscrete(sizes))
        yield f"MultiDiscrete {sizes}", vectors | {"env": env}
    yield "images", {"policy": "CnnPolicy", "env": Target(image_space())}
    yield "dict", {"policy": "MultiInputPolicy", "env": Target(dict_space())}
    yield "n-step", vectors | {"env": Target(), "n_steps": 3}
    yield "many updates", vectors | {"env": Target(), "gradient_steps": 5, "train_freq": 2}
    yield (
        "schedules",
        vectors
        | {
            "env": Target(),
            "learning_rate": "lin_1e-3",
            "target_entropy": "lin_-1_-2",
            "reward_scale": "lin_2_1",
        },
    )


def _merged(base: dict, case: dict) -> dict:
    case = copy.deepcopy(case)
    return case | {"policy_kwargs": base["policy_kwargs"] | case.get("policy_kwargs", {})}


def trained(engine: str, arguments: dict) -> SoftAC:
    """A model after ``N_STEPS`` steps of its environment."""
    common = {"buffer_size": 50, "learning_starts": 10, "batch_size": 16, "seed": 3, "device": "cpu", "engine": engine}
    return SoftAC(**(common | arguments)).learn(N_STEPS)


def hash_of(model: SoftAC) -> str:
    """SHA-256 of the names and bits of all parameters."""
    digest = hashlib.sha256()
    for name, value in sorted(model.policy.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    """Print the hash of all configurations, or of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", action="store_true", help="a line for each configuration")
    each = parser.parse_args().each
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    together = hashlib.sha256()
    for engine in ("eager", "auto"):
        for name, arguments in configurations():
            digest = hash_of(trained(engine, arguments))
            together.update(digest.encode())
            if each:
                print(f"{digest[:16]}  {engine}, {name}", flush=True)
    print(together.hexdigest())


if __name__ == "__main__":
    main()
