"""Agents on the Hugging Face Hub, by its own client: ``pip install 'sb3_softac[hub]'``."""

from sb3_softac.hub.client import HubError
from sb3_softac.hub.load import load_from_hub
from sb3_softac.hub.push import push_to_hub

__all__ = ["HubError", "load_from_hub", "push_to_hub"]
