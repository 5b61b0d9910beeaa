"""The engine of a model, up to date with what a user may change between two trainings."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sb3_softac import arguments
from sb3_softac.updates.compute import make_engine, refine_engine, set_up_networks
from sb3_softac.updates.engine import Engine
from sb3_softac.updates.factory import make_temperature, make_update

if TYPE_CHECKING:
    from sb3_softac.softac import SoftAC

# Attributes that take effect from the next training on, if a user changes them.
HELD_BY_ENGINE = (
    "tau",
    "actor_tau",
    "target_update_interval",
    "max_grad_norm",
    "actor_gradient",
    "baseline",
    "q_reduction",
    "actor_q_reduction",
    "n_target_critics",
    "policy_delay",
    "q_target_clip",
    "critic_ent_coef",
    "ent_coef_bounds",
    "n_action_samples",
)
# Attributes that each training reads.
READ_BY_TRAINING = ("gamma", "target_entropy", "reward_scale")


class CurrentEngine:
    """What runs the update of a model, made anew when something that it holds was changed.

    :param model: with networks
    :param name: of :func:`sb3_softac.updates.compute.choose_engine`
    :raises ValueError: an engine that cannot hold these networks
    """

    def __init__(self, model: "SoftAC", name: str) -> None:
        self.name = name
        self._held_by_temperature: tuple[Any, ...] = ()
        self._held: tuple[Any, ...] = ()
        self._checked: tuple[Any, ...] = ()
        self._set_up_networks(model)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}  # a captured update holds the tensors of this model, not of its copy

    def _set_up_networks(self, model: "SoftAC") -> None:
        self.name = refine_engine(model, self.name)
        self._n_structures = model.policy.n_structures
        set_up_networks(model, self.name)
        self.forget()

    def forget(self) -> None:
        """Make the engine anew next time, as its optimizers were overwritten."""
        self._engine: Engine | None = None

    def up_to_date(self, model: "SoftAC") -> Engine:
        """The engine, for the arguments, networks, optimizers and temperature that the model has now.

        :param model: the same one, or its copy
        :raises ValueError: an attribute that the constructor would refuse
        """
        self._check(model)
        if self._n_structures != model.policy.n_structures:  # other modules: another engine may be needed
            self._set_up_networks(model)
        held_by_temperature = _held_by_temperature(model)
        if self._held_by_temperature != held_by_temperature:
            self._held_by_temperature = held_by_temperature
            model.temperature = make_temperature(model)
        optimizers = [id(optimizer) for group in model.optimizers().values() for optimizer in group]
        held = (*_settings(model, HELD_BY_ENGINE), *held_by_temperature, *optimizers)
        if self._engine is None or self._held != held:
            self._held = held
            model.actor.n_action_samples = model.n_action_samples
            self._engine = make_engine(model, self.name, make_update(model))
        return self._engine

    def _check(self, model: "SoftAC") -> None:
        if self._checked != _settings(model, HELD_BY_ENGINE + READ_BY_TRAINING):
            arguments.check(model)
            arguments.check_ensemble(model.n_target_critics, model.critic.n_critics)
            self._checked = _settings(model, HELD_BY_ENGINE + READ_BY_TRAINING)


def _held_by_temperature(model: "SoftAC") -> tuple[Any, ...]:
    fixed = vars(model).get("ent_coef_tensor")  # not there where it is learned
    return id(model.log_ent_coef), id(model.ent_coef_optimizer), id(fixed), model.ent_coef_bounds


def _settings(model: "SoftAC", names: Iterable[str]) -> tuple[Any, ...]:
    return tuple(getattr(model, name) for name in names)
