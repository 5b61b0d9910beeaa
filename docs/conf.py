"""Configuration of the manual: ``make docs`` builds it."""

import re
from pathlib import Path

from sphinx.application import Sphinx

from sb3_softac.version import __version__

project = "SoftAC"
author = "sb3_softac contributors"
copyright = "sb3_softac contributors"  # Sphinx wants this name
release = __version__

extensions = [
    "myst_nb",  # Markdown by MyST, and notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.autosectionlabel",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autosectionlabel_prefix_document = True
nitpicky = False
nb_execution_mode = "off"  # `make notebooks` executes them; the files hold text and pictures

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature of SoftAC is long; the parameters below it say the types that matter

html_theme = "furo"
html_title = f"SoftAC {release}"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_theme_options = {"navigation_with_keys": True}

# Files of the repository beside docs/ are no pages: links to them become downloads, and links to folders text.
_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\((?:\.\./)+((?:benchmarks|examples|hyperparams|tests)[^)#\s]*)[^)]*\)")


def _as_download(link: re.Match[str]) -> str:
    text, path = link.groups()
    is_file = (Path(__file__).parents[1] / path).is_file()
    return f"{{download}}`{text} </../{path}>`" if is_file else f"{text} (`{path}`)"


def setup(app: Sphinx) -> None:
    """Extend Sphinx.

    :param app: that builds the manual
    """
    app.connect("source-read", lambda _, name, source: source.__setitem__(0, _OUTSIDE.sub(_as_download, source[0])))
