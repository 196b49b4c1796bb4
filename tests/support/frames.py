"""Small frames for tests: only the columns that matter are written out, the others are empty."""

from typing import Any

import numpy as np

from streamscope.core.table.columns import COLUMNS
from streamscope.core.table.frame import Frame


def small_frame(**columns: list[Any]) -> Frame:
    """A frame of the given columns; None is an empty field."""
    count = len(next(iter(columns.values())))
    built = {}
    for c in COLUMNS:
        values = columns.pop(c.name, [None] * count)
        if c.kind == "text":
            built[c.name] = np.array(["" if v is None else v for v in values], dtype=object)
        else:
            built[c.name] = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    assert not columns, f"no such columns: {list(columns)}"
    return Frame(built)
