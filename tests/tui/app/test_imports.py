"""What the app must not load."""

import subprocess
import sys


def test_the_app_process_does_not_import_torch() -> None:
    code = """
import sys, streamscope.tui.app.app
print([m for m in ('torch', 'torchvision', 'lucent', 'scipy') if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_core_does_not_import_textual() -> None:
    code = """
import sys
from streamscope.core import store
from streamscope.core.export import files
from streamscope.core.jobs import plan
from streamscope.core.table import filter, frame
print('textual' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
