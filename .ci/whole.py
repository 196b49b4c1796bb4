"""Is a wheel whole? `python .ci/whole.py WHEEL`: every file of core/ and tui/, and nothing beside streamscope."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
packed = {name for name in zipfile.ZipFile(sys.argv[1]).namelist() if ".dist-info/" not in name}
sources = {
    f"streamscope/{path.relative_to(ROOT)}"
    for part in ("core", "tui")
    for path in (ROOT / part).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
sys.exit("\n".join(sorted(packed ^ (sources | {"streamscope/__init__.py"}))) or 0)
