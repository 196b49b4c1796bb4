"""Installs what the machine lacks from a folder of wheels, without a network, and says what is still missing.

The machine's own torch stays, whatever the folder has: it is the one that suits its driver.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from tests.gpu_rehearsal.step import ROOT

OF_THE_DRIVER = re.compile(r"torch|torchvision|triton|nvidia-.*")
"""Distributions of which a wheel is taken only where there is none at all."""
TOOLS = ("pytest",)
"""Needed beside what streamscope itself needs."""


def wheels_in(folder: Path) -> dict[str, str]:
    """Versions of the distributions in a folder of wheels, by normalised name; the newest of several."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.whl")):
        name, number = path.name.split("-")[:2]
        name = normalised(name)
        if name not in found or numbers(number) > numbers(found[name]):
            found[name] = number
    return found


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def numbers(text: str) -> tuple[int, ...]:
    """The release of a version, comparable: 2.11.0+cu130 is (2, 11, 0)."""
    return tuple(int(part) for part in re.match(r"[\d.]*", text)[0].split(".") if part)  # type: ignore[index]  # "" matches


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def lacking(wheels: dict[str, str]) -> list[str]:
    """`name==version` of the wheels that the machine has nothing for, or something older."""
    wanted = []
    for name, number in wheels.items():
        there = installed(name)
        if there is None or (not OF_THE_DRIVER.fullmatch(name) and numbers(there) < numbers(number)):
            wanted.append(f"{name}=={number}")
    return wanted


def install(names: list[str], wheels: Path, site: Path) -> None:
    """Into a folder of their own, with nothing that they depend on. Raises CalledProcessError, FileNotFoundError."""
    pip = [sys.executable, "-m", "pip"] if find_spec("pip") else ["uv", "pip"]
    offline = ["--no-index", "--find-links", str(wheels), "--no-deps", "--target", str(site)]
    subprocess.run([*pip, "install", "--quiet", *offline, *names], check=True, stdout=sys.stderr)
    importlib.invalidate_caches()
    sys.path_importer_cache.clear()


def requirements() -> list[str]:
    """What pyproject.toml says that streamscope needs, such as `torch>=2.6,<3`."""
    found: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return found


def unfit(requirements: list[str]) -> list[str]:
    """Those that are there in another version than required."""
    from packaging.requirements import Requirement

    found = []
    for required in map(Requirement, requirements):
        there = installed(required.name)
        if there is not None and not required.specifier.contains(there, prereleases=True):
            found.append(f"{required} (there is {there})")
    return found


def missing_below(names: list[str]) -> list[str]:
    """What the distributions that are there need, and what that needs, and is not there. It may do without."""
    from packaging.requirements import Requirement

    missing: set[str] = set()
    seen, waiting = set(names), list(names)
    while waiting:
        name = waiting.pop()
        if installed(name) is None:
            missing.add(name)
            continue
        below = map(Requirement, requires(name) or [])
        needed = {normalised(r.name) for r in below if r.marker is None or r.marker.evaluate({"extra": ""})}
        waiting += needed - seen
        seen |= needed
    return sorted(missing - set(names))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--site", type=Path, required=True)
    given = parser.parse_args()
    names = lacking(wheels_in(given.wheels)) if given.wheels else []
    if names:
        install(names, given.wheels, given.site)
    needed = [*requirements(), *TOOLS]
    there = {name: installed(name) for name in (re.split(r"[^\w.-]", text)[0] for text in needed)}
    missing = [name for name, number in there.items() if number is None]
    # packaging comes with pytest; without it nothing is compared.
    comparing = find_spec("packaging") is not None
    below = missing_below(list(there)) if comparing else []
    found = {
        "from_wheels": names,
        "versions": there,
        "missing": missing,
        "missing_below": below,
        "other_versions": unfit(requirements()) if comparing else ["not compared: packaging is not installed"],
    }
    print(json.dumps(found))
    if missing:
        rest = f" (they need others; missing of those that are there: {', '.join(below)})" if below else ""
        print(f"missing: {', '.join(missing)}{rest}; give wheels of them by --wheels", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
