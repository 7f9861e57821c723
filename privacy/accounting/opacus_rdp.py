"""The only module that imports opacus: its Renyi analysis, without its training engine.

`import opacus` first imports that engine, which takes three seconds of processor time. The analysis is one
file that needs only numpy and scipy. If another release of opacus has the file elsewhere, it is imported as
usual.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

NAME = "opacus.accountants.analysis.rdp"


@cache
def rdp_analysis() -> ModuleType:
    """opacus' module with `compute_rdp` and `get_privacy_spent`."""
    package = find_spec("opacus")
    for folder in (package.submodule_search_locations if package else None) or ():
        file = Path(folder, "accountants", "analysis", "rdp.py")
        spec = spec_from_file_location(NAME, file)
        if NAME not in sys.modules and file.is_file() and spec and spec.loader:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return import_module(NAME)
