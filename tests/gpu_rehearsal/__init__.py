"""Everything that waits for a GPU, tried once on one: `python -m tests.gpu_rehearsal`.

`__main__` takes the steps of `plan` one after the other, each in a process of its own (`step`), by a clock (`budget`);
what came of them is kept in `records`, told in `summary` and packed in `archive`. None of these needs a package: what
does (`machine`, `kernels`, `arithmetic`, the commands) runs in processes of steps, after `packages` has installed it.
"""
