"""Each kind of stored file, spoiled in each way, and every command that reads; then the one that repairs."""

from __future__ import annotations

import csv
import io
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from tests.storm_process import clean_exit, run

READ = ["--model", "demo", "--seed", "0"]
MAY_SAY_OTHER = {"status", "flags", "late_rise", "seeds", "fz_seed", "stable_update", "stable_scale_invariant"}
"""Columns that may say something else where a set, a batch or a retry is left out."""
NOT_NAMED = {"store.json", "completed.json", "finished.json"}
"""Where they are gone, that is no damage."""
SHARE_OF_SLOW = 0.35
"""Of damages after which a report is written, and the set computed to its end: they take ten times as long as the
others together."""
NOBODY = 65534
"""Who meets the files that cannot be read: root reads every one."""


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def instead(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def another(path: Path, others: list[Path]) -> Path | None:
    """A file of the same kind with other content."""
    content = path.read_bytes()
    return next((other for other in others if other != path and other.read_bytes() != content), None)


def damages(chance: random.Random) -> dict[str, Callable[[Path, Path], object]]:
    """What is done to a file; the second is another of its kind."""

    def swap(path: Path, other: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)

    return {
        "deleted": lambda path, other: path.unlink(),
        "empty": lambda path, other: path.write_bytes(b""),
        "truncated": lambda path, other: os.truncate(path, chance.randrange(path.stat().st_size)),
        "flipped": lambda path, other: flip(path, chance),
        "another": lambda path, other: shutil.copyfile(other, path),
        "swapped": swap,
        "garbage": lambda path, other: path.write_bytes(chance.randbytes(500)),
        "brackets": lambda path, other: path.write_text("[" * 200_000),
        "pipe": lambda path, other: instead(path, os.mkfifo),
        "link outside": lambda path, other: instead(path, lambda p: p.symlink_to("/etc/passwd")),
        "unreadable": lambda path, other: path.chmod(0),
        "a folder": lambda path, other: instead(path, Path.mkdir),
        "folder swapped": lambda path, other: swap_folders(path.parent, other.parent),
        "folder elsewhere": lambda path, other: shutil.copytree(path.parent, path.parent.parent / "0000-0001-00000000"),
    }


def give_away(folder: Path, cache: Path) -> None:
    """The store's folders to another user, who may remove what is in them; the file that cannot be read stays ours."""
    folder.chmod(0o755)
    for path in (cache, *cache.rglob("*")):
        if path.is_dir():
            os.chown(path, NOBODY, NOBODY)
    (folder / "marks").mkdir(mode=0o777, exist_ok=True)
    (folder / "marks").chmod(0o777)


def swap_folders(one: Path, other: Path) -> None:
    aside = one.parent / ".tmp-swap"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def kinds(cache: Path) -> dict[str, list[Path]]:
    """Files by what they are: their names and folders without numbers."""
    found: dict[str, list[Path]] = {}
    for path in sorted(cache.rglob("*")):
        relative = path.relative_to(cache)
        if path.is_file() and relative.parts[0] in ("store.json", "aliases", "models"):
            found.setdefault(
                re.sub(r"[0-9a-f]*\d[0-9a-f.]*", "#", "/".join(relative.parts[2:]) or relative.name), []
            ).append(path)
    return found


def possible(files: dict[str, list[Path]], chance: random.Random) -> Iterator[tuple[str, str, Path, Path]]:
    """Every kind of file with every damage that can be done to it: the file, and another of its kind."""
    for kind, paths in files.items():
        for name in damages(chance):
            path = chance.choice(paths)
            found = another(path, paths)
            other = found or path
            if found is None and name in ("another", "swapped"):
                continue
            in_batch = re.fullmatch(r"\d{4}-\d{4}-.*", path.parent.name)
            if name.startswith("folder") and not (in_batch and other.parent != path.parent):
                continue
            if name == "unreadable" and os.geteuid() != 0:
                continue
            yield kind, name, path, other


def damage_all(folder: Path, chance: random.Random, compute: list[str], wanted: int, only: str) -> list[str]:
    """Does `wanted` of the damages that are possible, drawn at random; with `only`, to files whose path has that in
    it. Returns what was found wrong."""
    whole, images = folder / "whole", folder / "images"
    for words in (
        compute,
        [*compute, "--seed", "1"],
        ["demo-images", str(images), "--per-class", "2"],
        ["scan", "--model", "demo", str(images), "--device", "cpu"],
        ["nulls", *READ, "--block", "1.1", "--shams", "--device", "cpu"],
        ["curves", *READ, "--block", "1.1", "--device", "cpu"],
        ["ablate", *READ, str(images), "--block", "1.1", "--channels", "0-3", "--controls", "2", "--device", "cpu"],
    ):
        clean_exit(run([*words, "--cache", str(whole)] if words[0] != "demo-images" else words, folder))
    faults: list[str] = []
    done: Counter[str] = Counter()
    before = _table(whole, folder)
    files = {kind: paths for kind, paths in kinds(whole).items() if only in kind}
    every = list(possible(files, chance))
    for kind, name, path, other in chance.sample(every, min(wanted, len(every))):
        cache = folder / "cache"
        shutil.copytree(whole, cache, symlinks=True)
        here, there = (cache / p.relative_to(whole) for p in (path, other))
        damages(chance)[name](here, there)
        if name == "unreadable":
            give_away(folder, cache)
            wrong = list(_check_unreadable(cache, folder, here))
        else:
            wrong = list(_check(cache, folder, here, name, before, compute, chance))
        done[name] += 1
        for line in wrong:
            faults.append(f"{kind}, {name}: {line}")
            click.echo(f"FAULT {faults[-1]}", err=True)
        shutil.rmtree(cache)
        if done.total() % 10 == 0:
            click.echo(f"{done.total()} damages, {len(faults)} faults", err=True)
    for name, number in done.items():
        click.echo(f"{name:18}{number:>5} damages, {sum(f', {name}:' in line for line in faults)} faults")
    click.echo(f"{done.total()} of {len(every)} possible damages, of {len(files)} kinds of files")
    return faults


def _check_unreadable(cache: Path, folder: Path, path: Path) -> Iterator[str]:
    """It is said, it is no damage, and nobody removes it."""
    for words in (
        ["models"],
        ["cache", "info"],
        ["table", *READ, "--block", "1.1", "--format", "csv"],
        ["cache", "verify"],
        ["cache", "verify", "--drop"],
    ):
        process = run([*words, "--cache", str(cache)], folder, 60, NOBODY)
        said, code = process.output(), process.code()
        process.end()
        if code not in (0, 1) or "Traceback" in said or "unexpected" in said:
            yield f"{' '.join(words)} ended with {code}: {said[-400:]}"
        if words[:2] == ["cache", "verify"] and "models" in path.parts:
            if code != 1 or "cannot be read" not in said:
                yield f"{' '.join(words)} ended with {code}: {said[-400:]}"
            if "--drop" in words and not path.exists():
                yield f"verify --drop removed {path}"


def _check(
    cache: Path, folder: Path, path: Path, name: str, before: str, compute: list[str], chance: random.Random
) -> Iterator[str]:
    """The slowest two are run now and then."""
    out = folder / "out"
    commands = (
        ["models"],
        ["cache", "info"],
        ["table", *READ, "--block", "1.1", "--format", "csv"],
        ["fz", *READ, "--block", "1.1", "--channels", "0-15", "--out", str(out / "fzs")],
        ["marks", "export", "--model", "demo", str(out / "marks.csv")],
        ["nulls", *READ, "--block", "1.1"],
        ["report", *READ, "--block", "1.1", "--out", str(out / "report")],
        ["cache", "prune", "--dry-run"],
        ["cache", "verify"],
        # It reads curves again that are damaged, so that there is nothing left to find.
        ["curves", *READ, "--block", "1.1", "--device", "cpu"],
    )
    for words in commands:
        if words[0] == "report" and chance.random() > SHARE_OF_SLOW:
            continue
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        try:
            process = run([*words, "--cache", str(cache)], folder, 60)
        except AssertionError as error:
            yield f"hangs: {error}"
            continue
        said, code = process.output(), process.code()
        process.end()
        if code not in (0, 1, 2) or "Traceback" in said or "unexpected" in said:
            yield f"{' '.join(words)} ended with {code}: {said[-400:]}"
        if "root:x:0" in said:
            yield f"{' '.join(words)} shows a file outside"
        if words[0] == "table" and code == 0:
            yield from _differing(before, said)
        if words == ["cache", "verify"] and path.name not in NOT_NAMED and "models" in path.parts:
            # Of a pair that was swapped both are named.
            named = path.parent.parent if name.startswith("folder") else path.parent
            gone = name == "deleted" and path.parent.name in ("ablations", "aliases")
            if not gone and str(named) not in said:
                yield f"verify does not name {path}: {said[-300:]}"
    if chance.random() > SHARE_OF_SLOW:
        return
    repaired = run([*compute, "--cache", str(cache)], folder)
    said, code = repaired.output(), repaired.code()
    repaired.end()
    if code not in (0, 1, 2) or "Traceback" in said or "unexpected" in said:
        yield f"compute ended with {code}: {said[-400:]}"


def _table(cache: Path, folder: Path) -> str:
    process = run(["table", *READ, "--block", "1.1", "--format", "csv", "--cache", str(cache)], folder)
    clean = process.output()
    clean_exit(process)
    return clean


def _rows(text: str) -> list[dict[str, str]]:
    lines = [line for line in text.splitlines() if not line.startswith("streamscope: ")]
    return list(csv.DictReader(io.StringIO("\n".join(lines))))


def _differing(before: str, now: str) -> Iterator[str]:
    """Every number is the one of before, or there is none. A row whose retry cannot be read is that of the first FZs,
    and says so."""
    for old, new in zip(_rows(before), _rows(now), strict=True):
        if new["fz_seed"] != old["fz_seed"]:
            if "run 'streamscope cache verify'" not in now or new["status"] == "ok":
                yield f"the table says nothing of the retry of channel {old['channel']} that it does not read"
            continue
        for column, value in new.items():
            if column not in MAY_SAY_OTHER and value not in ("", old[column]):
                yield f"the table says {value} of {column} of channel {old['channel']}, not {old[column]}"
                return
