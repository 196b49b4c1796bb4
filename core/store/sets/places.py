"""What the records of a set's batches must say, folder by folder."""

from __future__ import annotations

from collections.abc import Mapping

from streamscope.core.model.blocks import ModelInfo, Target, Tensor
from streamscope.core.model.recipe import SetKey
from streamscope.core.store.layout import ResponseKind
from streamscope.core.store.records import RESPONSES_OPTIONAL, RESPONSES_OWN, Place
from streamscope.core.store.sets.batches import FZ_OWN, MEASURES_OWN


class Places:
    """The places of one set. What a record begins with is put together once for all batches of a folder."""

    def __init__(self, info: ModelInfo, key: SetKey) -> None:
        self.info, self.key = info, key
        self.described = {**info.identity_fields, **key.to_json()}
        """What every record of the set says of it."""
        self._places: dict[tuple[str, str, int], Place] = {}

    def fzs(self, target: Target, retry: int) -> Place:
        """What the records of the FZs of a target must say."""
        found = self.info.target(target.block, target.tensor, self.key.protocol)
        return self._place(("fzs", str(found), retry), {"kind": "fzs"}, {"target": str(found)}, found.block, FZ_OWN)

    def measures(self, block: str, tensor: Tensor, retry: int) -> Place:
        """What the records of what was measured on the FZs of a block's tensor must say."""
        subject = {"block": block, "on": tensor}
        return self._place((block, tensor, retry), {"kind": "measures"}, subject, block, MEASURES_OWN)

    def _place(
        self,
        key: tuple[str, str, int],
        kind: Mapping[str, str],
        subject: Mapping[str, str],
        block: str,
        own: frozenset[str],
    ) -> Place:
        if key not in self._places:
            retry = {"retry": key[-1]}
            header = {**kind, "model": self.info.name, **subject, **retry, **self.described}
            self._places[key] = Place(header, own, self.info.block(block).channels)
        return self._places[key]

    def responses(self, kind: ResponseKind, block: str, on: Tensor, variant: str, retry: int) -> Place:
        """What the records of responses to a block's FZs of a tensor must say. 0.2.0 said less of the set."""
        subject = {"kind": kind, "model": self.info.name, "block": block, "on": on, "variant": variant}
        header = {**subject, **self.described}
        # Theirs is the seed that the FZs were really made with.
        header |= {"retry": retry, "seed": self.key.seed + retry}
        return Place(header, RESPONSES_OWN, self.info.block(block).channels, RESPONSES_OPTIONAL)
