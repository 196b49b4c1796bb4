"""Networks of one's own: a function in a file or a module that returns one. Its code runs, here and nowhere else.

Research repositories have a `core/`, a `utils.py` or a `torch.py` of their own. While the code is loaded and the
function runs, the folder of a file (of a module that is not installed: the folder it was found in) is looked in first,
as Python does for a script. Afterwards it is not looked in any more, and what of it has the name of something installed
is forgotten: nothing that streamscope imports comes from there.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from streamscope.core.errors import ArchitectureError, UsageError
from streamscope.core.model.preprocessing import IMAGENET_SIZE, Preprocessing, check_size
from streamscope.core.model.sources.addresses import (
    code_digest,
    find_module,
    import_root,
    is_file,
    read_code,
    split_own,
)
from streamscope.core.text import visible

SEED = 0
"""What is drawn while a function runs is drawn from this: the same weights each time, in every process."""


@dataclass(frozen=True)
class Code:
    """The file of a network of one's own: where it is, and what it held when it was read."""

    path: Path
    content: bytes

    @classmethod
    def read(cls, path: Path, pinned: str = "") -> Code:
        """Raises ArchitectureError where it is gone, or its SHA-256 is another than `pinned`."""
        code = cls(path, read_code(path))
        if pinned and code.digest != pinned:
            raise ArchitectureError(
                f"{path} has changed since this was asked for (its SHA-256 was {pinned[:12]}, now it is "
                f"{code.digest[:12]}); ask again to compute with what it is now"
            )
        return code

    @property
    def digest(self) -> str:
        return code_digest(self.content)


def code_here(architecture: str, path: str, content: bytes) -> Code:
    """The code of a network that was loaded on another machine, for this one to run: a module of the same content that
    is installed here, a file as it was sent. What a file imports from its folder is found where that lies here too.

    Raises ArchitectureError where what is here is another.
    """
    split = split_own(architecture)
    assert split is not None
    where, _ = split
    sent = Code(Path(path), content)
    here = Path(path) if is_file(where) else find_module(where)
    if is_file(where) and not Path(path).exists():
        return sent
    if here is None:
        raise ArchitectureError(f"this worker has no module {where}; install it here too")
    found = Code.read(here)
    if found.digest != sent.digest:
        raise ArchitectureError(
            f"{here} is another at this worker (SHA-256 {found.digest[:12]}) than where the job was started "
            f"({sent.digest[:12]}); bring both to the same version"
        )
    return found


class OwnNetwork:
    """A function of one's own, loaded: what it makes, and what its network is shown."""

    def __init__(self, architecture: str, code: Code) -> None:
        """Runs the code. Raises ArchitectureError, UsageError for constants that make no sense."""
        split = split_own(architecture)
        assert split is not None
        where, self._function = split
        self.name = architecture
        self.code = code
        self._root = code.path.parent if is_file(where) else import_root(where, code.path)
        with self._running(f"{where}"):
            self._module = _load_file(code) if is_file(where) else importlib.import_module(where)
        found = getattr(self._module, "__file__", None)
        if found is None or os.path.realpath(found) != os.path.realpath(code.path):
            raise ArchitectureError(f"{where} is imported from {found}, not from {code.path}; name that by its path")
        self._make = self._callable()
        self.preprocessing = _preprocessing(self._module, where)

    def build(self) -> nn.Module:
        """What the function returns, drawn with torch's current seed, in eval mode. Raises ArchitectureError."""
        with self._running(f"{self.name}()"):
            made = self._make()
        if not isinstance(made, nn.Module):
            raise ArchitectureError(f"{self.name}() returns {_kind(made)}, not an nn.Module")
        return settled(made, self.name)

    def build_own(self) -> nn.Module:
        """As `build`, with the weights that it has each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return self.build()

    def _callable(self) -> Callable[[], Any]:
        make = getattr(self._module, self._function, None)
        if not callable(make):
            functions = [
                name
                for name, value in vars(self._module).items()
                if callable(value)
                and not name.startswith("_")
                and getattr(value, "__module__", "") == self._module.__name__
            ]
            near = difflib.get_close_matches(self._function, functions, 3, 0.5) or functions[:3]
            has = f"; it has {', '.join(near)}" if near else ""
            raise ArchitectureError(f"{self.code.path} has no function {self._function!r}{has}")
        try:
            inspect.signature(make).bind()
        except TypeError as error:
            raise ArchitectureError(
                f"{self.name} needs arguments ({error}); write a function without any that returns the network"
            ) from error
        except ValueError:
            pass  # What is not written in Python may have no signature.
        return cast(Callable[[], Any], make)

    @contextmanager
    def _running(self, what: str) -> Iterator[None]:
        """While code of the user's runs: its imports, its words kept off stdout, what it raises in one line."""
        try:
            with _importable(self._root), redirect_stdout(sys.stderr):
                yield
        except (Exception, SystemExit) as error:
            raise ArchitectureError(f"{what} raised {_raised(error, self.code.path)}") from error


def _load_file(code: Code) -> ModuleType:
    """The module of a file, under a name that nothing else has."""
    module = ModuleType(f"_streamscope_own_{code.digest[:16]}")
    module.__file__ = str(code.path)
    sys.modules[module.__name__] = module
    exec(compile(code.content, str(code.path), "exec"), vars(module))
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """While this lasts modules are looked for in `folder` first."""
    entry = str(folder.absolute())
    if entry in sys.path:
        yield
        return
    before = set(sys.modules)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)
        for top in {name.partition(".")[0] for name in sys.modules.keys() - before}:
            if PathFinder.find_spec(top) is not None and _is_inside(sys.modules.get(top), folder):
                for name in [name for name in sys.modules if name.partition(".")[0] == top]:
                    del sys.modules[name]


def _is_inside(module: ModuleType | None, folder: Path) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(place is not None and Path(place).absolute().is_relative_to(folder.absolute()) for place in places)


def _raised(error: BaseException, path: Path) -> str:
    """`ValueError: message (net.py, line 3)`: the line is the last in the user's own file, else the last of all."""
    text = visible(str(error).partition("\n")[0])
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(path)] or frames[-1:]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{place}"


def _preprocessing(module: ModuleType, where: str) -> Preprocessing:
    """Of its constants INPUT_SIZE, MEAN and STD, what is not there as usual. Raises UsageError."""
    usually = Preprocessing()
    size = getattr(module, "INPUT_SIZE", IMAGENET_SIZE)
    if type(size) is not int:
        raise UsageError(f"INPUT_SIZE of {where} is {size!r}, not a whole number of pixels")
    colours = []
    for name, usual in (("MEAN", usually.mean), ("STD", usually.std)):
        try:
            red, green, blue = map(float, getattr(module, name, usual))
        except (TypeError, ValueError):
            raise UsageError(
                f"{name} of {where} is {getattr(module, name)!r}, not three numbers (red, green, blue)"
            ) from None
        colours.append((red, green, blue))
    try:
        check_size(size)
        return Preprocessing(size, size * usually.resize // usually.size, mean=colours[0], std=colours[1])
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def settled(module: nn.Module, name: str) -> nn.Module:
    """A network itself, in eval mode, in float32 and on the CPU. Raises ArchitectureError where it cannot be put so."""
    unready = [
        key for key, value in (*module.named_parameters(), *module.named_buffers()) if value.is_meta or is_lazy(value)
    ]
    if unready:
        raise ArchitectureError(f"{name} has parts without weights ({unready[0]}): run it once before it is returned")
    module.cpu().float().eval()
    training = [key or "the network" for key, part in module.named_modules() if part.training]
    if training:
        raise ArchitectureError(f"{name} cannot be put into eval mode: {training[0]} stays in training mode")
    unkept = [
        key
        for key, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None
    ]
    if unkept:
        raise ArchitectureError(
            f"{name} has a batch norm that keeps no statistics ({unkept[0]}): what it answers to an image depends on "
            "the others of its batch"
        )
    return module


def check_answers(module: nn.Module, name: str, side: int) -> None:
    """That a network answers images (n, 3, side, side), the same each time. Raises ArchitectureError."""
    images = torch.linspace(-1, 1, 3 * side * side).reshape(1, 3, side, side)
    with torch.no_grad(), redirect_stdout(sys.stderr):
        try:
            answers = [torch.utils._pytree.tree_leaves(module(images)) for _ in range(2)]
        except Exception as error:
            text = visible(str(error).partition("\n")[0])
            raise ArchitectureError(
                _other_images(module, name)
                or f"{name} does not take an image of {side} px: {type(error).__name__}: {text}"
            ) from error
    for once, again in zip(*answers, strict=True):
        if isinstance(once, torch.Tensor) and not torch.equal(once.nan_to_num(), again.nan_to_num()):
            raise ArchitectureError(
                f"{name} answers the same image differently each time: it draws random numbers in eval mode"
            )


def _other_images(module: nn.Module, name: str) -> str:
    """What is wrong where its first convolution takes another number of colours than 3; "" else."""
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    if first is None or first.in_channels == 3:
        return ""
    grey = " (grey images)" if first.in_channels == 1 else ""
    return f"{name} takes images of {first.in_channels} channel{'s' * (first.in_channels != 1)}{grey}, not 3"


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
