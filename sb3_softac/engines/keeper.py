"""Cache of a model's engine, which follows the changes that a user makes between two trainings."""

from collections.abc import Sequence
from typing import Any

import torch as th

from sb3_softac.engines import adam
from sb3_softac.engines.base import Engine
from sb3_softac.engines.choose import choose_engine, make_engine, set_up_networks
from sb3_softac.policies import SoftACPolicy
from sb3_softac.settings.arguments import EngineSettings, UpdateSettings
from sb3_softac.updates.prepared import prepared
from sb3_softac.updates.temperature import Temperature
from sb3_softac.updates.variants import make_update


class EngineKeeper:
    """Caches the engine of a model; makes a new one when a setting, network or optimizer of it has changed.

    :param policy: all networks
    :param settings: settings of the engine
    :param is_loaded: True: the settings are from a file, which may have been written on another device
    :raises ValueError: the engine cannot run these networks
    """

    def __init__(self, policy: SoftACPolicy, settings: EngineSettings, is_loaded: bool = False) -> None:
        self._of_file = settings if is_loaded else None
        self._set_up_networks(policy, settings)

    def __getstate__(self) -> dict[str, Any]:
        # A captured update uses the tensors of this model, and not those of a copy. A copy of the networks has lost
        # where their parameters lie.
        return {**self.__dict__, "_engine": None, "_made_of": (), "_set_up_for": ()}

    def _set_up_networks(self, policy: SoftACPolicy, settings: EngineSettings) -> None:
        #: a key of :data:`~sb3_softac.settings.engines.ENGINE_KINDS`
        self.name = choose_engine(settings, policy, is_loaded=settings == self._of_file)
        set_up_networks(policy, self.name, settings)
        self._set_up_for = (policy.structure_version, settings)
        self.forget()

    def forget(self) -> None:
        """Drop the engine, so that the next gradient step makes a new one: its optimizers were overwritten."""
        self._engine: Engine | None = None
        self._made_of: tuple[Any, ...] = ()

    def up_to_date(
        self,
        policy: SoftACPolicy,
        temperature: Temperature,
        optimizers: Sequence[th.optim.Optimizer],
        update_settings: UpdateSettings,
        engine_settings: EngineSettings,
    ) -> Engine:
        """Engine for the current networks, optimizers and settings of the model.

        :param policy: all networks
        :param temperature: fixed or learned
        :param optimizers: optimizers of all networks and of the temperature
        :param update_settings: settings that decide the operations of a gradient step
        :param engine_settings: settings that decide how a gradient step is computed
        :raises ValueError: settings that need a network which the policy lacks, or an engine that cannot run it
        """
        if self._set_up_for != (policy.structure_version, engine_settings):  # another engine may be needed
            self._set_up_networks(policy, engine_settings)
        made_of = (update_settings, temperature, *optimizers)
        if self._engine is None or self._made_of != made_of:
            update = make_update(policy.variant, policy.networks(), temperature, update_settings, adam.step)
            update = prepared(update, policy.preparations())
            self._engine = make_engine(self.name, update, policy, optimizers)
            self._made_of = made_of
        return self._engine

    def read_metrics(self) -> dict[str, float]:
        """Mean of each metric since the last call; empty if there was no gradient step."""
        return {} if self._engine is None else self._engine.read_metrics()
