"""Files of a policy that other programs run: from an observation to an action, without this package."""
