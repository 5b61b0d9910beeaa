"""The notebooks of the manual: they run, and the files hold the text and the pictures of a whole run."""

import runpy
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
FEWER_STEPS = 300


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


@pytest.fixture(params=NOTEBOOKS)
def path(request) -> Path:
    return FOLDER / request.param


def test_it_runs_with_fewer_steps(path):
    kept = path.read_bytes()
    executed = runpy.run_path(str(FOLDER.parent / "execute_notebooks.py"))["execute"](path, STEPS=FEWER_STEPS)
    assert pictures(executed) == pictures(nbformat.read(path, as_version=4)) > 0
    assert path.read_bytes() == kept


def test_the_file_holds_a_whole_run(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1


def test_its_outputs_name_no_folder_and_no_warning(path):
    kept = outputs(nbformat.read(path, as_version=4))
    assert [output for output in kept if output.output_type == "error" or output.get("name") == "stderr"] == []
    texts = [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in kept]
    assert [text for text in texts if "/" in text or "object at 0x" in text] == []


def test_its_file_is_small(path):
    assert path.stat().st_size < 300_000
