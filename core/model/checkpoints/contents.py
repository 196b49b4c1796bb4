"""What a file or a folder of weights holds: plain containers, tensors, and stand-ins for everything else."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from streamscope.core.errors import WeightsError
from streamscope.core.files import open_regular, read_regular
from streamscope.core.model.checkpoints.file_kinds import (
    BARE_PICKLE,
    CUT_OFF,
    HEAD,
    NO_CHECKPOINT,
    PYTHON2_PICKLE,
    WHOLE_MODEL,
    foreign_archive,
    foreign_kind,
    is_safetensors,
)
from streamscope.core.model.checkpoints.pickles import PickleNames, is_module, legacy_names, read_names
from streamscope.core.model.spec import WEIGHTS_IN_FOLDER
from streamscope.core.schema import MalformedError, parse_object

JSON_LIMIT = 2**26
"""Bytes that a configuration or an index of shards may have."""
_NAMED = 3
"""Names of what a pickle would call that are shown."""


@dataclass(frozen=True)
class Contents:
    """What was read of `source`: nested mappings, lists and tensors, with stand-ins for what is not loaded."""

    source: Path
    tree: Any
    config: Mapping[str, Any] = field(default_factory=dict)
    """`config.json` of a folder."""


def read_contents(path: Path) -> Contents:
    """What a file of torch.save or safetensors holds, or a folder with `config.json` as Hugging Face lays it out.

    No code in it is run. Raises WeightsError naming the file for whatever is wrong with it.
    """
    if not path.is_dir():
        return Contents(path, _read_file(path))
    config = _read_json(path / "config.json") if (path / "config.json").is_file() else {}
    for name in WEIGHTS_IN_FOLDER:
        if (path / name).is_file():
            tree = _read_shards(path / name) if name.endswith(".json") else _read_file(path / name)
            return Contents(path, tree, config)
    raise WeightsError(f"{path} is a directory without {', '.join(WEIGHTS_IN_FOLDER)}")


def _read_file(path: Path) -> Any:
    try:
        with open_regular(path) as file:
            head = file.read(HEAD)
            kind = foreign_kind(path, head)
            if kind is not None:
                raise WeightsError(f"{path} {kind}")
            if head.startswith(b"PK\x03\x04"):
                return _load_zip(path, file)
            if is_safetensors(head):
                return load_file(path)
            return _load_legacy(path, file)
    except WeightsError:
        raise
    except PermissionError as error:
        raise WeightsError(f"{path} may not be read; check its permissions") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        raise WeightsError(f"{path} {CUT_OFF}") from error
    except Exception as error:  # bytes that are no checkpoint can trip an unpickler in any way at all
        raise WeightsError(f"{path} {NO_CHECKPOINT}") from error


def _load_zip(path: Path, file: BinaryIO) -> Any:
    file.seek(0)
    kind = foreign_archive(file)
    if kind is not None:
        raise WeightsError(f"{path} {kind}")
    names = PickleNames()
    try:
        with zipfile.ZipFile(file) as archive:
            entry = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(entry) as content:
                read_names(content, names)
    except (zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise WeightsError(f"{path} {CUT_OFF}") from error
    return _torch_load(path, names)


def _load_legacy(path: Path, file: BinaryIO) -> Any:
    file.seek(0)
    try:
        names, by_torch = legacy_names(file)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} {NO_CHECKPOINT}") from error
    if not by_torch:
        _refuse_dangerous(path, names)
        raise WeightsError(f"{path} {BARE_PICKLE}")
    return _torch_load(path, names)


def _torch_load(path: Path, names: PickleNames) -> Any:
    _refuse_dangerous(path, names)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(names.stand_ins()):
            # An old pickle protocol is no news to whoever passes the file.
            warnings.simplefilter("ignore")
            # Python 2's texts are bytes; those of Python 3 are Unicode whatever is said here.
            tree = torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "is blocked" in str(error):
            raise WeightsError(f"{path} {_would_run('what torch does not allow')}") from error
        if names.python2:
            raise WeightsError(f"{path} {PYTHON2_PICKLE}") from error
        if names.protocol > 2:
            raise WeightsError(
                f"{path} is a pickle of protocol {names.protocol}, which cannot be read without running code; save it "
                "again with torch.save's own protocol"
            ) from error
        raise WeightsError(f"{path} {NO_CHECKPOINT}") from error
    except (RuntimeError, EOFError) as error:
        raise WeightsError(f"{path} {CUT_OFF}") from error
    if is_module(tree):
        raise WeightsError(f"{path} {WHOLE_MODEL}")
    return tree


def _refuse_dangerous(path: Path, names: PickleNames) -> None:
    dangerous = names.dangerous
    if dangerous:
        shown = ", ".join(dangerous[:_NAMED]) + (", …" if len(dangerous) > _NAMED else "")
        raise WeightsError(f"{path} {_would_run(shown)}")


def _would_run(names: str) -> str:
    return (
        f"is a pickle that would run code when loaded ({names}), so it was not; save model.state_dict() with torch.save"
    )


def _read_shards(index: Path) -> dict[str, torch.Tensor]:
    """The tensors of every file that an index names, which lie beside it."""
    named = _read_json(index).get("weight_map")
    files = sorted({str(file) for file in named.values()}) if isinstance(named, Mapping) else []
    if not files:
        raise WeightsError(f"{index} names no files of weights")
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        if not re.fullmatch(r"[\w.-]+", file) or file.startswith("."):
            raise WeightsError(f"{index} names {file!r}, which is no file beside it")
        if not (index.parent / file).is_file():
            raise WeightsError(f"{index} names {file}, which is not there; download it too")
        shard = _read_file(index.parent / file)
        if not isinstance(shard, Mapping):
            raise WeightsError(f"{index.parent / file} holds no state dict (a dict of tensors)")
        tensors.update(shard)
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return parse_object(read_regular(path, limit=JSON_LIMIT))
    except MalformedError as error:
        raise WeightsError(f"{path} is not JSON ({error})") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error})") from error
