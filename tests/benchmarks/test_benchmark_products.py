"""The benchmark of matrix products."""

import json
import sys
from unittest.mock import patch

from benchmarks import products


def test_every_layer_has_its_three_products_and_the_critics_theirs(tmp_path):
    arguments = ["--threads", "1", "--batch-size", "32", "--blocks", "1", "--seconds", "0.0001", "--out", str(tmp_path)]
    with patch.object(sys, "argv", ["products", *arguments]):
        products.main()
    rows = json.loads((tmp_path / "products.json").read_text())["rows"]
    assert len(rows) == 3 * len(products.LAYERS) + 1
    assert all(time > 0 for row in rows for time in row["microseconds"].values())
    assert set(rows[-1]["microseconds"]) >= {"loop, PyTorch's choice", "batched"}
    assert (tmp_path / "products.md").read_text().count("\n| 1 |") == len(rows)
