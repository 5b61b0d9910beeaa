"""The private names of other libraries that the package uses, which any release of theirs may take away."""

import ast
import re
from functools import cache
from pathlib import Path

import gymnasium as gym
import optuna
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes
from torch import nn

from tests.helpers import Target

PACKAGE = Path(__file__).resolve().parents[1] / "sb3_softac"
PRIVATE = re.compile(r"_[A-Za-z]\w*")

TORCH = {
    "torch": {"_C", "_foreach_add_", "_foreach_copy_", "_foreach_lerp_", "_foreach_norm", "_fused_adam_", "_ops"},
    "torch._C": {"_create_function_from_graph", "_dispatch_has_kernel_for_dispatch_key"},
    "torch.cpu": {"_is_amx_tile_supported", "_is_avx512_bf16_supported"},
    "torch.ops.aten": {"_unsafe_view"},
    "torch.ops.mkldnn": {"_linear_pointwise"},
    "torch.utils": {"_python_dispatch"},
    "an operation": {"_op", "_schema"},
    "a tensor": {"_backward_hooks", "_base", "_post_accumulate_grad_hooks", "_version"},
    "a module": {"_buffers", "_compiled_call_impl", "_modules", "_parameters"}
    | {"_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_pre_hooks"},
    "an optimizer": {"_optimizer_step_post_hooks", "_optimizer_step_pre_hooks"},
}
STABLE_BASELINES3 = {
    "a model": {"_current_progress_remaining", "_episode_num", "_last_obs", "_n_updates", "_num_timesteps_at_start"}
    | {"_setup_model", "_stats_window_size", "_total_timesteps", "_update_current_progress_remaining"}
    | {"_vec_normalize_env", "_wrap_env"},
    "a policy": {"_dummy_schedule", "_update_features_extractor"},
    "a replay buffer": {"_maybe_cast_dtype", "_normalize_obs", "_normalize_reward"},
    "a vectorised environment": {"_get_indices", "_options", "_reset_options", "_reset_seeds", "_seeds"},
    "a callback": {"_total_max_episodes"},  # which follows from an argument, and is not restored
}
GYMNASIUM = {"a space": {"_np_random"}, "an environment": {"_np_random"}, "a wrapper": {"_cached_spec", "_metadata"}}
BOX2D = {"an environment of Box2D": {"_destroy"}}  # which `benchmarks/reliability.py resume` calls
RL_ZOO3 = {  # which `tests/zoo/` calls
    "a manager of experiments": {"_load_pretrained_agent", "_save_config"}
    | {"_preprocess_action_noise", "_preprocess_hyperparams"}
}
OPTUNA = {"its storages": {"_heartbeat"}, "a trial": {"_trial_id"}}
PYTHON = {"a named tuple": {"_asdict", "_replace"}, "the module os": {"_exit"}}
#: no attributes: an argument, a file in a checkpoint; what the package itself sets on a class that is not its own; and
#: attributes of the package that it asks for elsewhere
OTHERS = {"_init_setup_model", "_stable_baselines3_version", "_softac_original", "_overlap", "_tensor_episodes"}


def missing(names: dict[str, set[str]], owners: dict[str, object]) -> list[str]:
    assert names.keys() == owners.keys()
    return [f"{name} of {owner}" for owner, own in names.items() for name in own if not hasattr(owners[owner], name)]


def test_pytorch_has_its_names():
    module = nn.Linear(1, 1)
    owners = {
        "torch": th,
        "torch._C": th._C,
        "torch.cpu": th.cpu,
        "torch.ops.aten": th.ops.aten,
        "torch.ops.mkldnn": th.ops.mkldnn,
        "torch.utils": th.utils,
        "an operation": th.ops.aten.add.Tensor,
        "a tensor": th.zeros(1),
        "a module": module,
        "an optimizer": th.optim.Adam(module.parameters()),
    }
    names = TORCH if th.backends.mkldnn.is_available() else {**TORCH, "torch.ops.mkldnn": set()}  # not in every build
    assert missing(names, owners) == []


def test_stable_baselines3_has_its_names():
    model = SAC("MlpPolicy", Target(), buffer_size=1, device="cpu")
    owners = {"a model": model, "a policy": model.policy, "a replay buffer": model.replay_buffer}
    owners |= {"a callback": StopTrainingOnMaxEpisodes(1), "a vectorised environment": model.get_env()}
    assert missing(STABLE_BASELINES3, owners) == []


def test_gymnasium_has_its_names():
    env = Target()
    owners = {"a space": env.action_space, "an environment": env, "a wrapper": gym.Wrapper(env)}
    assert missing(GYMNASIUM, owners) == []


def test_optuna_has_its_names():
    owners = {"its storages": optuna.storages, "a trial": optuna.create_study().ask()}
    assert missing(OPTUNA, owners) == []


def test_the_lists_are_complete():
    tables = (TORCH, STABLE_BASELINES3, GYMNASIUM, BOX2D, RL_ZOO3, OPTUNA, PYTHON)
    listed = set().union(OTHERS, *(names for table in tables for names in table.values()))
    found = set().union(*(foreign_names(path) for path in PACKAGE.rglob("*.py")))
    assert found == listed


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def foreign_names(path: Path) -> set[str]:
    """The private names in a file that nothing in the package defines.

    As an attribute, or as a string that may be the name of one. `self._name` may be defined by any class of the
    package; `other._name` is taken for foreign unless this file defines it.
    """
    of_self, of_others = set(), set()
    formatted = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.JoinedStr)]
    parts = {part for node in formatted for part in node.values}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute):
            (of_self if is_self(node.value) else of_others).add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            of_others.add(node.value)
        elif isinstance(node, ast.ImportFrom):
            of_others |= {alias.name for alias in node.names} | set(str(node.module).split("."))
    everywhere = set().union(*(defined_in(each) for each in PACKAGE.rglob("*.py")))
    here = (
        defined_in(path) - vars(nn.Module()).keys()
    )  # `module._modules` is PyTorch's, whatever a class here calls its own
    return {name for name in (of_self - everywhere) | (of_others - here) if PRIVATE.fullmatch(name)}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def defined_in(path: Path) -> set[str]:
    """Names of functions, classes, variables and attributes of `self`."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return names
