"""What a pickle names and would do, read from its opcodes, which are not obeyed; and what takes the place of it.

Checkpoints hold more than weights: arguments, hyper-parameters, the state of random number generators. torch's own
unpickler for weights alone (`weights_only=True`) refuses most of that. Here it gets a stand-in for every name in a file
that is not torch's, which keeps what it is handed and does nothing: nothing that a file names is imported, let alone
called. A file that would call what is not known to be harmless is refused all the same.
"""

from __future__ import annotations

import builtins
import pickle
import pickletools
import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO, ClassVar, Literal

Use = Literal["called", "made", "given items", "appended to"]
"""What a pickle does with what it names: `made` is an object of the class without a call of its constructor."""

_TORCHS = re.compile(
    r"torch\.(_utils\._rebuild_\w+|_tensor\._rebuild_from_type_v2|((cuda|sparse|storage|cuda\.sparse)\.)?\w*(Storage|Tensor)"
    r"|Size|device|serialization\._get_layout|nn\.parameter\.Parameter|bool|half|bfloat16|q?u?int\w+|float\w+|complex\w+)"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(bytearray|set|complex)"
)
"""What torch's unpickler for weights alone allows, or refuses, by itself."""
_HARMLESS = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|pathlib\.(\w+\.)?\w*Path|copyreg\._reconstructor|re\._compile"
    r"|collections\.(defaultdict|deque|UserDict)|functools\.partial|typing\.\w+|(datetime|decimal|fractions|uuid)\.\w+"
    r"|numpy\.(_?core\.multiarray\.(scalar|_reconstruct)|_?core\.numeric\._frombuffer|dtype|ndarray|dtypes\.\w+)"
    r"|numpy\.random\.(\w+\.)?(__\w+_ctor|RandomState|Generator|\w*MT19937|\w*PCG64\w*|\w*SeedSequence)"
    r"|time\.struct_time|random\.Random|torch\.torch_version\.TorchVersion"
)
"""Of the standard library, NumPy and torch: data that calls nothing else when it is made."""
_CLASS = re.compile(r"(?!(?:torch|numpy)\.).*\.[A-Z]\w*")
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""What the files of torch.save begin with that are no zip."""


class StandIn:
    """Takes the place of an object of a class that is not loaded: it keeps what it is handed, and does nothing."""

    of: ClassVar[str] = ""
    """The full name of the class that the file means."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any, **_: Any) -> StandIn:
        made = object.__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def attributes(value: Any) -> Mapping[Any, Any]:
    """The entries of a mapping, or the attributes that a stand-in's object was to have; none of anything else."""
    if isinstance(value, StandIn):
        value = value.state[0] if isinstance(value.state, tuple) and value.state else value.state
    # A file may give an OrderedDict attributes, also one called `items`.
    return dict(dict.items(value)) if isinstance(value, dict) else {}


def is_module(value: Any) -> bool:
    """Whether a stand-in is of a whole torch module."""
    return isinstance(value, StandIn) and "_modules" in attributes(value)


@dataclass
class PickleNames:
    """What one or several pickles name, by full name (`argparse.Namespace`), and what they do with it."""

    uses: dict[str, set[Use]] = field(default_factory=lambda: defaultdict(set))
    protocol: int = 0
    python2: bool = False
    """Whether Python 2 wrote them."""

    @property
    def dangerous(self) -> tuple[str, ...]:
        """Names that are no plain data's: what loading the file in the usual way might run."""
        return tuple(sorted(name for name, uses in self.uses.items() if not _is_harmless(name, uses)))

    def stand_ins(self) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
        """For `torch.serialization.safe_globals`: what takes the place of each name that is not torch's own."""
        return [(_stand_in(name, uses), name) for name, uses in self.uses.items() if not _TORCHS.fullmatch(name)]


def _is_harmless(name: str, uses: Iterable[Use]) -> bool:
    if _TORCHS.fullmatch(name) or _HARMLESS.fullmatch(name):
        return True
    module, _, last = name.rpartition(".")
    if module == "builtins":
        return isinstance(getattr(builtins, last, None), type) and last != "type"
    if name.partition(".")[0] in sys.stdlib_module_names:
        return False
    # Members of an enumeration are made by calling its class.
    return "called" not in uses or _CLASS.fullmatch(name) is not None


def _stand_in(name: str, uses: Iterable[Use]) -> Callable[..., Any]:
    """torch's unpickler puts entries into these very types only, so what is given any is one of them."""
    if "given items" in uses:
        return OrderedDict if "made" in uses else lambda *_: OrderedDict()
    if "appended to" in uses:
        return list if "made" in uses else lambda *_: []
    return type("StandIn", (StandIn,), {"of": name})


@dataclass(frozen=True)
class _Name:
    full: str


@dataclass(frozen=True)
class _Made:
    """An object of a named class, or what a call of the name gave."""

    name: str


_MARK = object()
_OTHER = object()


def read_names(file: IO[bytes], names: PickleNames) -> Any:
    """Adds what the next pickle of `file` names. Its value is returned where it is a plain number or text, else None.

    Raises UnpicklingError where there is no whole pickle.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(file):
            _step(opcode.name, argument, opcode, stack, memo, names)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, UnicodeError, OverflowError) as error:
        raise pickle.UnpicklingError(f"no whole pickle ({error})") from error
    value = stack[-1] if stack else None
    return value if isinstance(value, int | str) else None


def _step(name: str, argument: Any, opcode: Any, stack: list[Any], memo: dict[int, Any], names: PickleNames) -> None:
    match name:
        case "STRING" | "BINSTRING" | "SHORT_BINSTRING":
            # Python 3 writes text as Unicode, and bytes by calling an encoder.
            names.python2 = True
            stack.append(argument if isinstance(argument, str) else _OTHER)
        case "PROTO":
            names.protocol = max(names.protocol, argument)
        case "GLOBAL" | "INST":
            module, _, attribute = argument.partition(" ")
            named = _name(module, attribute, names)
            if name == "INST":
                _pop_to_mark(stack)
                named = _used(named, "called", names)
            stack.append(named)
        case "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            # A name that is put together while it is loaded is nobody's plain data.
            texts = isinstance(module, str) and isinstance(attribute, str)
            stack.append(_name(module, attribute, names) if texts else _name("unknown", "name", names))
            if not texts:
                names.uses["unknown.name"].add("called")
        case "EXT1" | "EXT2" | "EXT4":
            stack.append(_used(_name("copyreg", f"extension {argument}", names), "called", names))
        case "REDUCE":
            stack.pop()
            stack.append(_used(stack.pop(), "called", names))
        case "OBJ":
            stack.append(_used(_pop_to_mark(stack)[0], "called", names))
        case "NEWOBJ" | "NEWOBJ_EX":
            del stack[-1 if name == "NEWOBJ" else -2 :]
            stack.append(_used(stack.pop(), "made", names))
        case "SETITEM":
            del stack[-2:]
            _used(stack[-1], "given items", names)
        case "SETITEMS" | "ADDITEMS":
            _pop_to_mark(stack)
            _used(stack[-1], "given items", names)
        case "APPEND":
            del stack[-1:]
            _used(stack[-1], "appended to", names)
        case "APPENDS":
            _pop_to_mark(stack)
            _used(stack[-1], "appended to", names)
        case "BUILD":
            stack.pop()
        case "MARK":
            stack.append(_MARK)
        case "PUT" | "BINPUT" | "LONG_BINPUT":
            memo[argument] = stack[-1]
        case "MEMOIZE":
            memo[len(memo)] = stack[-1]
        case "GET" | "BINGET" | "LONG_BINGET":
            stack.append(memo[argument])
        case "DUP":
            stack.append(stack[-1])
        case "POP":
            stack.pop()
        case "POP_MARK":
            _pop_to_mark(stack)
        case "STOP":
            pass
        case _:
            if any(kind is pickletools.markobject for kind in opcode.stack_before):
                _pop_to_mark(stack)
            elif opcode.stack_before:
                del stack[-len(opcode.stack_before) :]
            if opcode.stack_after:
                stack.append(argument if isinstance(argument, int | str) else _OTHER)


def _name(module: str, attribute: str, names: PickleNames) -> _Name:
    """A name as Python 3 has it; the protocols that Python 2 reads have others."""
    if (module, attribute) in NAME_MAPPING:
        module, attribute = NAME_MAPPING[module, attribute]
    elif module in IMPORT_MAPPING:
        module = IMPORT_MAPPING[module]
    full = f"{module}.{attribute}"
    names.uses[full].update()
    return _Name(full)


def _used(value: Any, use: Use, names: PickleNames) -> Any:
    """`value` was used so; what stands on the stack then."""
    if isinstance(value, _Name | _Made):
        full = value.full if isinstance(value, _Name) else value.name
        # What a call gave may be called in turn, by what it was given: there is no telling what runs.
        names.uses[full if isinstance(value, _Name) or use != "called" else "the result of a call"].add(use)
        return _Made(full)
    return value


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    at = len(stack) - 1
    while stack[at] is not _MARK:
        at -= 1
        if at < 0:
            raise IndexError("no mark")
    popped = stack[at + 1 :]
    del stack[at:]
    return popped


def legacy_names(file: BinaryIO) -> tuple[PickleNames, bool]:
    """What a file that is no zip names, and whether torch.save wrote it. Raises UnpicklingError where it is no pickle.

    Those of torch.save are a number to know it by, a version, the sizes of C's types, the object itself and the keys of
    its storages, a pickle each; then the numbers.
    """
    names = PickleNames()
    if read_names(file, names) != _TORCH_MAGIC:
        return names, False
    for _ in range(4):
        read_names(file, names)
    return names, True
