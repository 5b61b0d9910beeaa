"""Draw the floors of the package: `docs/images/architecture.svg`.

    python docs/figures/architecture.py

The floors are those that `tests/test_structure.py` enforces: an import goes down, never up.
"""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from tests.test_structure import BESIDE, FLOORS

OUTPUT = Path(__file__).parents[1] / "images" / "architecture.svg"
WHAT = {
    "softac": "SoftAC: arguments, learn(), train(), files",
    "saved_algorithm": "its half that deals with files",
    "exporting": "files that other programs run",
    "offline": "data from elsewhere",
    "distributed": "simulators in actors, on devices",
    "engines": "run an update: eager, fused, traced, CUDA graph",
    "collecting": "explore the environment",
    "saving": "files and checkpoints",
    "policies": "make networks and optimizers",
    "updates": "the mathematics of a gradient step",
    "networks": "actors, critics, distributions",
    "buffers": "replay buffers",
    "settings": "a row for each argument",
    "spaces": "what actions and masks there are",
}


def main() -> None:
    """Draw a row of boxes for each floor, the highest one on top; what stands beside them is left out."""
    floors = [rooms for floor in FLOORS if (rooms := sorted(floor - BESIDE))]
    plt.rcParams["svg.hashsalt"] = "softac"  # the same picture gives the same file
    figure, axes = plt.subplots(figsize=(9, 0.95 * len(floors)), layout="constrained")
    for row, rooms in enumerate(floors):
        for column, room in enumerate(rooms):
            width = 1 / len(rooms)
            corner, style = (column * width + 0.01, -row + 0.1), "round,pad=0,rounding_size=0.02"
            box = FancyBboxPatch(corner, width - 0.02, 0.7, boxstyle=style, facecolor="#eef3f8", edgecolor="#8da0b3")
            axes.add_patch(box)
            x = (column + 0.5) * width
            axes.text(x, -row + 0.55, room, ha="center", va="center", fontsize=11, fontweight="bold")
            axes.text(x, -row + 0.28, WHAT[room], ha="center", va="center", fontsize=8)
        if row:
            axes.annotate("", (0.5, -row + 0.8), (0.5, -row + 1.1), arrowprops={"arrowstyle": "->", "color": "#8da0b3"})
    axes.set(xlim=(0, 1), ylim=(-len(floors) + 1, 0.9))
    axes.axis("off")
    figure.savefig(OUTPUT, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
