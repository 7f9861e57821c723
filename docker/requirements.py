"""Print the dependencies of a pyproject.toml, so that an image can install them before the code.

`python3 requirements.py pyproject.toml pretrained plots` has those of the extras as well.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
if unknown := sorted(set(sys.argv[2:]) - set(extras)):
    sys.exit(f"there is no extra {unknown[0]!r}; there are {', '.join(extras)}")
print("\n".join([*project["dependencies"], *(line for name in sys.argv[2:] for line in extras[name])]))
