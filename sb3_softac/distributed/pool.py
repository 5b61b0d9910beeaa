"""All actors of a :class:`RayVecEnv`: asks them at the same time, and starts those anew that died."""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from sb3_softac.collecting.lost import LOST_STEP
from sb3_softac.collecting.workers import GO_ON, WorkerError
from sb3_softac.distributed.actors import Actor, ActorLostError, jobs
from sb3_softac.distributed.cluster import connect
from sb3_softac.distributed.memory import ObservationMemory


class Request(NamedTuple):
    """A method of :class:`~sb3_softac.distributed.simulators.Simulators`, and the arguments for it."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}

    def send(self, actor: Actor) -> None:
        """Ask an actor; where it has died, its answer will be missing, which says so."""
        with suppress(ActorLostError):
            actor.ask(self.name, *self.args, **self.kwargs)


class ActorPool:
    """Actors with environments.

    :param env_fns: functions that make the environments
    :param envs_per_actor: environments of each actor
    :param address: of the Ray cluster; see :func:`connect`
    :param timeout: seconds that an actor may take to answer
    :param max_restarts: how often an actor may be started anew
    :param options: of ``ray.remote()`` for the actors
    :raises WorkerError: an actor could not be started; all were ended
    """

    def __init__(
        self,
        env_fns: Sequence[Callable[[], gym.Env]],
        envs_per_actor: int,
        address: str | None,
        timeout: float,
        max_restarts: int,
        options: Mapping[str, Any],
    ) -> None:
        self._is_over = False
        self._n_envs, self._max_restarts = len(env_fns), max_restarts
        self._seeds: list[int | None] = [None] * self._n_envs
        self._attributes: dict[int, dict[str, Any]] = defaultdict(dict)
        work = jobs(env_fns, envs_per_actor)
        with ExitStack() as held:
            ray = held.enter_context(connect(address))
            self.actors = [Actor(ray, job, timeout, options) for job in work]
            for actor in self.actors:
                held.callback(actor.end)
            self._start(ray)
            held.callback(self._memory.close)
            self._held = held.pop_all()

    def _start(self, ray: Any) -> None:
        found = []
        # Many processes that start at once keep each other from it: the first is then there as late as the last.
        at_once = max(1, int(ray.cluster_resources().get("CPU", 1)))
        for first in range(0, len(self.actors), at_once):
            group = self.actors[first : first + at_once]
            for actor in group:
                actor.launch()
            found += [self._or_give_up(actor, actor.spaces) for actor in group]
        #: observation space and action space of one environment
        self.spaces = found[0]
        for actor, own in zip(self.actors, found, strict=True):
            if own != self.spaces:
                raise ValueError(
                    f"{actor.label} has the spaces {own}, but the first one has {self.spaces}; all environments must "
                    "have the same"
                )
        self._memory = ObservationMemory(self.spaces[0], self._n_envs, ray.get_runtime_context().get_node_id())
        for actor in self.actors:
            self._or_give_up(actor, partial(actor.connect, self._memory.place, self._n_envs))

    def _or_give_up(self, actor: Actor, start: Callable[[], Any]) -> Any:
        try:
            return start()
        except ActorLostError as error:
            raise WorkerError(
                f"{actor.label} {error}; all were ended. Mend the environment, or allow more time (`timeout`)"
            ) from None

    # Steps

    def reset(self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
        """Reset all environments.

        :param seeds: one for each; None: it goes on with its random numbers
        :param options: for each
        :return: observations, infos
        """
        self._seeds = [old if new is None else new for old, new in zip(self._seeds, seeds, strict=True)]
        requests = {
            actor: Request("reset", ([seeds[env] for env in actor.envs], [options[env] for env in actor.envs]))
            for actor in self.actors
        }
        infos: list[dict[str, Any]] = []
        for actor, (obs, own) in self._ask(requests).items():
            self._take(actor, obs)
            actor.lost = None
            infos += own
        return self._memory.read(), infos

    def send_actions(self, actions: np.ndarray) -> None:
        """Begin a step of all environments.

        :param actions: (n_envs, ...)
        """
        for actor in self.actors:
            if actor.lost is None:
                Request("step", (actions[actor.envs.start : actor.envs.stop],)).send(actor)

    def receive_steps(self) -> tuple[Any, ...]:
        """Wait for the step of all environments.

        :return: observations, rewards, dones, infos, and the infos of resets by environment
        """
        results = self._gather(self.actors, self._receive_step)
        rewards = np.concatenate([result[1] for result in results.values()])
        dones = np.concatenate([result[2] for result in results.values()])
        infos = [info for result in results.values() for info in result[3]]
        resets = {
            env: info
            for actor, result in results.items()
            for env, info in zip(actor.envs, result[4] or (), strict=False)
        }
        return self._memory.read(), rewards, dones, infos, resets

    def _receive_step(self, actor: Actor) -> tuple[Any, ...]:
        if actor.lost is None:
            try:
                result = actor.answer()
                self._take(actor, result[0])
                return result
            except ActorLostError as error:
                self._replace(actor, str(error))
        return self._lost_step(actor)

    def _lost_step(self, actor: Actor) -> tuple[Any, ...]:
        """The result of a step that nobody knows: the episodes are truncated where they were seen last."""
        n_envs, last = len(actor.envs), actor.lost or []
        actor.lost = None
        infos = [{"TimeLimit.truncated": True, "terminal_observation": obs, LOST_STEP: True} for obs in last]
        return None, np.zeros(n_envs, np.float32), np.ones(n_envs, bool), infos, actor.reset_infos

    def _take(self, actor: Actor, obs: Any) -> None:
        if obs is not None:
            self._memory.write(actor.envs, obs)

    # Requests to single environments

    def ask(self, envs: Sequence[int], name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Call a method of ``VecEnv`` for some environments.

        :param envs: their indices
        :param name: of the method, which takes ``indices``
        :return: a result for each
        """
        places = {actor: [env - actor.envs.start for env in envs if env in actor.envs] for actor in self.actors}
        answers = self._ask(
            {actor: Request("ask", (name, *args), {**kwargs, "indices": own}) for actor, own in places.items() if own}
        )
        results = {actor: iter(answer or [None] * len(places[actor])) for actor, answer in answers.items()}
        owner = {env: actor for actor in self.actors for env in actor.envs}
        return [next(results[owner[env]]) for env in envs]

    def set_attribute(self, envs: Sequence[int], name: str, value: Any) -> None:
        """Set an attribute, also of those environments that take the place of these.

        :param envs: their indices
        :param name: of the attribute
        """
        self.ask(envs, "set_attr", name, value)
        for env in envs:
            self._attributes[env][name] = value

    def have_attribute(self, name: str) -> bool:
        """Whether all environments have an attribute.

        :param name: of the attribute
        """
        return all(self._ask({actor: Request("ask", ("has_attr", name)) for actor in self.actors}).values())

    def _ask(self, requests: Mapping[Actor, Request]) -> dict[Actor, Any]:
        """Ask actors at the same time; one that is started anew is asked again."""
        for actor, request in requests.items():
            request.send(actor)
        return self._gather(requests, lambda actor: self._answer(actor, requests[actor]))

    def _answer(self, actor: Actor, request: Request) -> Any:
        while True:
            try:
                return actor.answer()
            except ActorLostError as error:
                self._replace(actor, str(error))
            request.send(actor)

    def _gather(self, actors: Iterable[Actor], receive: Callable[[Actor], Any]) -> dict[Actor, Any]:
        """Answers of all actors; only then the first error of an environment is raised."""
        results, errors = {}, []
        for actor in actors:
            try:
                results[actor] = receive(actor)
            except WorkerError:
                raise
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return results

    # Beginning and end

    def _replace(self, actor: Actor, how: str) -> None:
        """Start an actor anew, with its environments reset.

        :param how: the one before was lost
        :raises WorkerError: it was lost too often; all were ended
        """
        if self._is_over:
            raise WorkerError(
                "The actors of these environments were ended, by `close()` or after an error; make new ones"
            )
        last_seen = actor.lost or [self._memory.read_one(env) for env in actor.envs]
        is_back = False
        while not is_back:
            actor.end()
            if actor.restarts == self._max_restarts:
                self.end()
                raise WorkerError(
                    f"{actor.label} {how}. It had been started anew {actor.restarts} times (`max_restarts`); all were "
                    f"ended. Mend the environment, or allow more restarts or a longer `timeout`; {GO_ON}"
                )
            actor.restarts += 1
            warnings.warn(
                f"{actor.label} {how}. It is started anew ({actor.restarts} of {self._max_restarts}), and its "
                "episodes count as truncated",
                stacklevel=2,
            )
            try:
                self._start_anew(actor)
                is_back = True
            except ActorLostError as error:
                how = str(error)
        actor.lost = last_seen

    def _start_anew(self, actor: Actor) -> None:
        actor.launch()
        actor.spaces()
        actor.connect(self._memory.place, self._n_envs)
        for place, env in enumerate(actor.envs):
            for name, value in self._attributes[env].items():
                actor.ask("ask", "set_attr", name, value, indices=place)
                actor.answer()
        own = [self._seeds[env] for env in actor.envs]
        seeds = [None if seed is None else seed + self._n_envs * actor.restarts for seed in own]
        actor.ask("reset", seeds, [{} for _ in seeds])
        obs, actor.reset_infos = actor.answer()
        self._take(actor, obs)

    def close(self) -> None:
        """End all actors, once they have closed their environments, and what was started of Ray."""
        with ExitStack() as stack:
            stack.callback(self.end)
            for actor in self.actors:
                Request("close").send(actor)
            self._gather(self.actors, Actor.close)

    def end(self) -> None:
        """End all actors by force, and what was started of Ray."""
        self._is_over = True
        self._held.close()
