"""Jobs that are commands of streamscope's: what the app queues for whatever is not the optimising of FZs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from streamscope.core.model.blocks import ModelInfo, format_channels
from streamscope.core.model.recipe import LARGEST_SEED, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec
from streamscope.core.store.jobs.spec import NO_DEVICE
from streamscope.tui.command_lines import block_words, command_line, set_words

NULLS = {
    "all": "everything below that there can be",
    "pairs": "each channel's gains against those of all pairs, for the column q: seconds",
    "shams": "the same FZs mirrored, turned and shifted: seconds to minutes, no new FZs",
    "seeds": "the FZs with two more seeds: twice as long as computing them",
    "untrained": "the FZs of an untrained copy of the network: as long as computing them, or more",
    "by-images": "MEIs and photographs under nulls: minutes, and a scan by an untrained copy",
}
"""The nulls that can be computed, and what each takes."""


class ShownSet(Protocol):
    """The set that is looked at."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def key(self) -> SetKey: ...


@dataclass(frozen=True)
class CommandJobs:
    """Makes jobs about one model. `images` is the scanned folder that was asked for; None for the last one."""

    spec: ModelSpec
    device: str
    images: Path | None = None

    def nulls(self, shown: ShownSet, block: str, which: str) -> JobSpec:
        """`which` is one of NULLS."""
        option = [f"--{which}"]
        if which == "seeds":
            own = shown.key.seed
            option.append(",".join(str(seed) for seed in (own + 1, own + 2) if seed <= LARGEST_SEED))
        title = f"{block}: {'all nulls' if which == 'all' else which}"
        return self._on_set(shown, ["nulls", "--block", block, *option], title, [block])

    def curves(self, shown: ShownSet, blocks: Sequence[str]) -> JobSpec:
        """Of every block with FZs where `blocks` is empty."""
        return self._on_set(shown, ["curves", *block_words(blocks)], ", ".join(blocks) or "all blocks", blocks)

    def decide(self, shown: ShownSet, blocks: Sequence[str], updates: bool) -> JobSpec:
        """More seeds for the channels whose verdict is undecided, with `updates` also where the kind is."""
        words = ["compute", *block_words(blocks), "--decide", *(["--updates"] if updates else [])]
        title = f"{', '.join(blocks)}: seeds until decided"
        return self._computing(shown, [*words, *set_words(shown.key, shown.info)], title, blocks)

    def scan(self, shown: ShownSet, folder: Path) -> JobSpec:
        return self._computing(shown, ["scan", _absolute(folder)], _absolute(folder), ())

    def photographs(self, shown: ShownSet, block: str) -> JobSpec:
        return self._on_set(shown, ["photographs", "--block", block], block, [block])

    def ablate(self, shown: ShownSet, folder: Path, block: str, channels: Sequence[int]) -> JobSpec:
        """Of the scale-invariant channels where none are named."""
        named = format_channels(channels) if channels else ""
        words = ["ablate", _absolute(folder), "--block", block, *(["--channels", named] if named else [])]
        what = f"channel{'s' * (len(channels) != 1)} {named}" if named else "scale-invariant channels"
        return self._on_set(shown, words, f"{block}: {what} on {_absolute(folder)}", [block])

    def report(self, shown: ShownSet, folder: Path) -> JobSpec:
        """Reads only, so it does not wait for what computes."""
        words = ["report", "--out", _absolute(folder), *self._set_words(shown)]
        return self._job(words, _absolute(folder), NO_DEVICE, ())

    def bundle(self, shown: ShownSet, file: Path, selection: Sequence[str], title: str) -> JobSpec:
        """`selection` are the options that choose channels. Reads only, as the report."""
        words = ["bundle", _absolute(file), *selection, *self._set_words(shown)]
        return self._job(words, f"{title} in {_absolute(file)}", NO_DEVICE, ())

    def _on_set(self, shown: ShownSet, words: Sequence[str], title: str, blocks: Iterable[str]) -> JobSpec:
        return self._computing(shown, [*words, *self._set_words(shown)], title, blocks)

    def _set_words(self, shown: ShownSet) -> list[str]:
        images = ["--images", _absolute(self.images)] if self.images is not None else []
        return [*set_words(shown.key, shown.info), *images]

    def _computing(self, shown: ShownSet, words: Sequence[str], title: str, blocks: Iterable[str]) -> JobSpec:
        return self._job([*words, "--device", self.device], title, self.device, blocks)

    def _job(self, words: Sequence[str], title: str, device: str, blocks: Iterable[str]) -> JobSpec:
        # The store is that in which the job is.
        commands = replace(command_line(self.spec, Path()), cache=None)
        return JobSpec.of_command(self.spec, [*words, *commands.words()], title, device, blocks)


def _absolute(path: Path) -> str:
    """By whichever folder it is run in."""
    return os.path.abspath(path.expanduser())
