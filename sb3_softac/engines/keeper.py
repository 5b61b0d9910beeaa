"""The engine of a model, up to date with what a user may change between two trainings."""

from collections.abc import Sequence
from typing import Any

import torch as th

from sb3_softac.engines import adam
from sb3_softac.engines.base import Engine
from sb3_softac.engines.choose import choose_engine, make_engine, set_up_networks
from sb3_softac.policies import SoftACPolicy
from sb3_softac.settings.arguments import EngineSettings, UpdateSettings
from sb3_softac.updates.temperature import Temperature
from sb3_softac.updates.variants import make_update


class EngineKeeper:
    """Holds the engine of a model, and makes another one when something that it holds was changed.

    :param policy: all networks
    :param settings: how a gradient step is to be computed
    :param is_loaded: with a file's settings, which may be of another device
    :raises ValueError: an engine that cannot hold these networks
    """

    def __init__(self, policy: SoftACPolicy, settings: EngineSettings, is_loaded: bool = False) -> None:
        self._of_file = settings if is_loaded else None
        self._set_up_networks(policy, settings)

    def __getstate__(self) -> dict[str, Any]:
        # A captured update holds the tensors of this model, not of its copy.
        return {**self.__dict__, "_engine": None, "_held": ()}

    def _set_up_networks(self, policy: SoftACPolicy, settings: EngineSettings) -> None:
        #: a key of :data:`~sb3_softac.settings.engines.ENGINE_KINDS`
        self.name = choose_engine(settings, policy, is_loaded=settings == self._of_file)
        set_up_networks(policy, self.name, settings)
        self._set_up_for = (policy.structure_version, settings)
        self.forget()

    def forget(self) -> None:
        """Make the engine anew next time, as its optimizers were overwritten."""
        self._engine: Engine | None = None
        self._held: tuple[Any, ...] = ()

    def up_to_date(
        self,
        policy: SoftACPolicy,
        temperature: Temperature,
        optimizers: Sequence[th.optim.Optimizer],
        update_settings: UpdateSettings,
        engine_settings: EngineSettings,
    ) -> Engine:
        """The engine for the networks, the optimizers and the settings that a model has now.

        :param policy: all networks
        :param temperature: fixed or learned
        :param optimizers: of all networks, and of the temperature
        :param update_settings: what a gradient step does
        :param engine_settings: how it is computed
        :raises ValueError: settings for which there are no networks, or no engine
        """
        if self._set_up_for != (policy.structure_version, engine_settings):  # another engine may be needed
            self._set_up_networks(policy, engine_settings)
        held = (update_settings, temperature, *optimizers)
        if self._engine is None or self._held != held:
            update = make_update(policy.variant, policy.networks(), temperature, update_settings, adam.step)
            self._engine = make_engine(self.name, update, policy, optimizers)
            self._held = held
        return self._engine
