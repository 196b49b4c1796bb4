"""A job that is a command: runs it in a process of its own and hears from it how far it is.

What the command prints is kept in the job's folder. The process that runs it imports no torch; the command does if it
computes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import IO

from streamscope.core.errors import ArchitectureError, Fault, StreamscopeError
from streamscope.core.jobs.pulse import BEAT_SECONDS
from streamscope.core.processes import COMMAND_LINE, JOB, module_command
from streamscope.core.store import Job, Store, job_state, last_words
from streamscope.core.store.files.users import append_to
from streamscope.core.store.jobs.events import JobEnded, JobProgressed, LastWord, Report, read_event

LOOK_SECONDS = 0.2
"""How often is looked whether the command has ended or is to end."""
GRACE_SECONDS = 60.0
"""What a command that was asked to end gets to give back what it holds."""
LINE_MAX = 400
"""Characters of the last line that is shown as what became of the job."""

Launch = Callable[[Job, Store], "subprocess.Popen[bytes]"]


def run_command(store: Store, job: Job, launch: Launch | None = None) -> int:
    """Runs the command of a job to its end and says in its folder how it ended; 0 when it did what it was to do.

    Raises StoreError where the job's folder cannot be written; KeyboardInterrupt ends the command too.
    """
    job.check_own("start")
    heard = _Heard(job)
    job.heartbeat(heard.report)
    process: subprocess.Popen[bytes] | None = None
    reader: threading.Thread | None = None
    try:
        _check_code(job)
        process = (launch or _launch)(job, store)
        reader = threading.Thread(target=heard.listen, args=(process.stdout,), daemon=True, name="output")
        reader.start()
        stopped = _wait(job, process, heard)
    except KeyboardInterrupt:
        if process is not None:
            _end(process)
        _say(job, heard, "stopped", "stopped; what it has stored stays")
        raise
    except StreamscopeError as error:
        if process is not None:
            _end(process)
        _finish(job, heard, "failed", Fault.of(error))
        return 1
    reader.join(GRACE_SECONDS)
    if process.returncode == 0:
        _say(job, heard, "done", heard.last_line)
    elif stopped:
        _say(job, heard, "stopped", "stopped; what it has stored stays")
    else:
        words = (
            last_words(replace(job_state(store, job), message="")) or f"it ended with exit code {process.returncode}"
        )
        _say(job, heard, "failed", words.removeprefix("streamscope: "))
    return process.returncode


class _Heard:
    """What a command has said so far."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.report = Report(message="starting")
        self.last_line = ""

    def listen(self, output: IO[bytes]) -> None:
        """Until the command closes its output."""
        with append_to(self._job.files.output) as kept:
            for line in output:
                event = read_event(line)
                if isinstance(event, JobProgressed):
                    self.report = event.report
                elif event is None:
                    kept.write(line)
                    self.last_line = line.decode(errors="replace").strip()[:LINE_MAX] or self.last_line


def _wait(job: Job, process: subprocess.Popen[bytes], heard: _Heard) -> bool:
    """Until the command has ended; whether it was asked to."""
    beat, asked = 0.0, 0.0
    while True:
        try:
            process.wait(LOOK_SECONDS)
            return asked > 0
        except subprocess.TimeoutExpired:
            pass
        now = time.monotonic()
        if not asked and job.stop_requested():
            asked = now
            process.send_signal(signal.SIGTERM)
        elif asked and now - asked > GRACE_SECONDS:
            process.kill()
        if now - beat >= BEAT_SECONDS:
            beat = now
            job.heartbeat(heard.report, job.spec.device)


def _launch(job: Job, store: Store) -> subprocess.Popen[bytes]:
    command = module_command(COMMAND_LINE, "--cache", str(store.root), *job.spec.command)
    with job.open_errors() as errors:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, JOB: job.id},
            close_fds=True,
        )


def _check_code(job: Job) -> None:
    """Raises ArchitectureError where the network's own code is another than when the job was made."""
    wanted = job.spec.code_sha256
    if wanted and job.spec.model_spec.code_sha256 != wanted:
        raise ArchitectureError(f"{job.spec.code} has changed since this was asked for; ask for it again")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _say(job: Job, heard: _Heard, state: LastWord, words: str) -> None:
    _finish(job, heard, state, Fault(words))


def _finish(job: Job, heard: _Heard, state: LastWord, fault: Fault) -> None:
    report = replace(heard.report, eta=None)
    if state == "done" and report.total:
        report = replace(report, done=report.total, share=1.0)
    job.finish(state, fault, report)
    job.log(JobEnded(state, fault, report))
