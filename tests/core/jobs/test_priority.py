"""A worker on the CPU lets others go first, and so do the processes it starts."""

import os
import subprocess
import sys

import pytest

from streamscope.core.jobs.priority import AUTOGROUP, NICENESS
from tests.support.stores import REPOSITORY

SAYS = f"import os; from pathlib import Path; print(os.nice(0), Path({str(AUTOGROUP)!r}).read_text().split()[-1])"
GIVES_WAY = f"""
import subprocess, sys
from streamscope.core.jobs.priority import give_way
give_way()
{SAYS}
keep = "from streamscope.core.jobs.priority import keep_niceness; keep_niceness(); "
subprocess.run([sys.executable, "-c", keep + sys.argv[1]],
               start_new_session=True)
"""


@pytest.mark.skipif(not os.access(AUTOGROUP, os.W_OK), reason="this kernel does not group processes by session")
def test_a_worker_and_the_processes_it_starts_in_sessions_of_their_own_give_way() -> None:
    command = [sys.executable, "-u", "-c", GIVES_WAY, SAYS]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, env=environment, timeout=60)
    wanted = max(NICENESS, os.nice(0))
    assert (done.stdout.splitlines(), done.stderr) == ([f"{wanted} {wanted}"] * 2, "")
