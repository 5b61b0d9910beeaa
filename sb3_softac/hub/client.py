"""The Hub's client, and its errors in words."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

#: files that RL Zoo's load_from_hub asks for beside the agent
METRICS = "train_eval_metrics.zip"


class HubError(OSError):
    """The Hub cannot be reached, or refuses; the cause is the error of ``huggingface_hub``."""


def optional(name: str) -> ModuleType:
    """Import a module of the extra ``hub``.

    :param name: of the module
    :raises ImportError: naming the extra
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is not installed, run: pip install 'sb3_softac[hub]'") from error


@contextmanager
def talking_about(repo_id: str) -> Iterator[ModuleType]:
    """Context manager that gives the Hub's client, and says in words what went wrong with it.

    :param repo_id: that the client is asked about, ``"<user>/<name>"``
    :return: ``huggingface_hub``
    :raises HubError: whatever the client raises
    """
    client = optional("huggingface_hub")
    try:
        yield client
    except HubError:
        raise
    except Exception as error:
        raise HubError(f"{repo_id!r} at {client.constants.ENDPOINT}: {_in_words(error)}") from error


def _in_words(error: Exception) -> str:
    errors = optional("huggingface_hub.errors")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.HFValidationError):
        return f"that is no name of a repository, which is '<user or organization>/<name>' ({error})"
    if isinstance(error, errors.EntryNotFoundError) and status == 404:
        return "the repository has no such file"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision"
    if status in (401, 403):
        return (
            f"the Hub answered {status}: the token is missing, wrong, or may not do this; `hf auth login`, set "
            "HF_TOKEN, or pass `token`, of a kind that may write in order to push. A repository that does not exist "
            "is answered alike where there is no token"
        )
    if status == 404:
        return "there is no such repository, or the token may not see it"
    if status is not None:
        return f"the Hub answered {status} ({error})"
    return f"no answer from the Hub: no network, or a wrong address in HF_ENDPOINT ({type(error).__name__}: {error})"
