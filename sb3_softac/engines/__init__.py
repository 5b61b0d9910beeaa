"""The machinery that runs an update; each engine makes the updates of the eager one."""
