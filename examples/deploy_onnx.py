"""Act with an exported agent, by onnxruntime and numpy alone: python deploy_onnx.py agent.onnx "[1.0, 0.0, 0.5]"."""

import json
import sys

import numpy as np
import onnxruntime

agent = onnxruntime.InferenceSession(sys.argv[1])
inputs = json.loads(agent.get_modelmeta().custom_metadata_map["inputs"])


def act(observation):
    """Action for one observation: numbers, or a dict of them with the names of the inputs."""
    parts = observation if isinstance(observation, dict) else {inputs[0]["name"]: observation}
    batch = {each["name"]: np.asarray(parts[each["name"]], each["dtype"])[None] for each in inputs}
    return agent.run(None, batch)[0][0]


print(json.dumps(act(json.loads(sys.argv[2])).tolist()))
