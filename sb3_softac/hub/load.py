"""Agents from the Hub."""

from typing import Any

from sb3_softac.hub.client import METRICS, talking_about
from sb3_softac.softac import SoftAC


def load_from_hub(
    repo_id: str,
    filename: str | None = None,
    *,
    revision: str | None = None,
    token: str | None = None,
    **kwargs: Any,
) -> SoftAC:
    """Load an agent of SoftAC from the Hub, without running code of its file.

    :param repo_id: ``"<user or organization>/<name>"``
    :param filename: of the agent; None: the only agent of the repository
    :param revision: branch, tag or commit; None: the newest
    :param token: of the Hub; None: the one of ``hf auth login`` or HF_TOKEN
    :param kwargs: arguments of :meth:`SoftAC.load`: ``env``, ``device``, ``allow_pickle``, ...
    :raises HubError: no network, no such repository or file, or a token that the Hub refuses
    :raises ValueError: the file is no agent of SoftAC, or has to be unpickled; the repository has no or several agents
    """
    if filename is None:
        with talking_about(repo_id) as client:
            files = client.HfApi(token=token).list_repo_files(repo_id, revision=revision)
        filename = _only_agent(repo_id, files)
    with talking_about(repo_id) as client:
        path = client.hf_hub_download(repo_id, filename, revision=revision, token=token, library_name="sb3_softac")
    return SoftAC.load(path, **kwargs)


def _only_agent(repo_id: str, files: list[str]) -> str:
    agents = [name for name in files if name.endswith(".zip") and name != METRICS]
    if len(agents) == 1:
        return agents[0]
    found = f"several agents, {', '.join(agents)}; pass one as `filename`" if agents else "no zip file of an agent"
    raise ValueError(f"The repository {repo_id!r} has {found}")
