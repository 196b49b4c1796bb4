"""What the app must not load."""

import subprocess
import sys


def test_the_app_process_does_not_import_torch() -> None:
    code = "import sys, tui.app; print([m for m in ('torch', 'torchvision', 'lucent', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_core_does_not_import_textual() -> None:
    code = "import sys, core.table, core.filter, core.export, core.store, core.plan; print('textual' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
