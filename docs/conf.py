"""How the documentation is built: `make docs`, strictly, without the network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import gatekit

project = "gatekit"
author = "gatekit contributors"
copyright = "2026, gatekit contributors"
version = release = gatekit.__version__

extensions = [
    "myst_parser",
    "plain_docstrings",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_ext"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

ALIASES = ("ASGIApp", "Environ", "Handler", "HeadersLike", "RawHeaders", "Scope", "WSGIApp")

autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
autodoc_type_aliases = {alias: alias for alias in ALIASES}
maximum_signature_line_length = 80
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "gatekit"
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
