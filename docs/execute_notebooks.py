"""Execute the notebooks of the manual, and keep what they print and draw: ``make notebooks``.

Names of notebooks as arguments execute only those: ``python docs/execute_notebooks.py mixture.ipynb``.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

FOLDER = Path(__file__).parent / "notebooks"
TIMEOUT_S = 1800  # of one cell


def execute(path: Path, **parameters: int) -> NotebookNode:
    """Run all cells of a notebook, in a folder that is deleted afterwards.

    :param path: the notebook; the file stays as it is
    :param parameters: values in place of those in the cell that is tagged "parameters"
    :return: the notebook with its outputs
    :raises CellExecutionError: a cell fails
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters:
        (place,) = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
        notebook.cells.insert(
            place + 1, new_code_cell("\n".join(f"{name} = {parameters[name]}" for name in parameters))
        )
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=TIMEOUT_S, record_timing=False, resources={"metadata": {"path": folder}}
        )
        # pygame draws without a screen, and looks for a folder of the session.
        client.execute(env=os.environ | {"SDL_VIDEODRIVER": "dummy", "XDG_RUNTIME_DIR": folder})
    notebook.metadata.language_info = {"name": "python"}  # not of the machine that ran it
    return notebook


def main() -> None:
    """Execute the notebooks named, or all, and write them back."""
    for path in [FOLDER / name for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        start = time.monotonic()
        nbformat.write(execute(path), path)
        seconds, size = time.monotonic() - start, path.stat().st_size
        print(f"{path.name}: {seconds:.0f} s, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
