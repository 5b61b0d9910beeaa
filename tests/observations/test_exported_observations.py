"""Statistics of `normalize_obs=True` are a part of an exported policy."""

import numpy as np
import pytest

from sb3_softac import SoftAC
from tests.helpers import SMALL, Target

onnxruntime = pytest.importorskip("onnxruntime")


def test_an_exported_policy_normalises(tmp_path):
    kwargs = SMALL | {"policy_kwargs": {"net_arch": [8], "normalize_obs": True}}
    model = SoftAC("MlpPolicy", Target(), seed=0, **kwargs).learn(40)
    model.policy.obs_normalizer.mean.add_(3.0)
    model.policy.obs_normalizer.follow()
    exported = model.export_onnx(tmp_path / "agent.onnx")  # which compares it with predict()
    session = onnxruntime.InferenceSession(str(exported.path))
    obs = np.random.default_rng(0).normal(3.0, 1.0, (5, 3)).astype(np.float32)
    (actions,) = session.run(None, {session.get_inputs()[0].name: obs})
    np.testing.assert_allclose(actions, model.predict(obs, deterministic=True)[0], atol=1e-5)
