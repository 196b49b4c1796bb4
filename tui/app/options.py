"""What the command line says to the app."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from streamscope.core.model.recipe import Capture, Protocol
from streamscope.core.model.spec import ModelSpec
from streamscope.tui.app.settings import Settings
from streamscope.tui.data.store_reader import SetChoice


@dataclass(frozen=True)
class AppOptions:
    """What picks a stored set is as in `SetChoice`, `images` picks a scan; None takes what there is."""

    spec: ModelSpec
    cache: Path
    marks: Path | None
    """Where marks are kept; None where no place is known: then none are."""
    bundle: Path | None = None
    """The bundle that the cache was unpacked from, which is only read."""
    graphics: str = "auto"
    device: str = "auto"
    steps: int | None = None
    seed: int | None = None
    capture: Capture | None = None
    protocol: Protocol | None = None
    recipe: Protocol | None = None
    converged: bool | None = None
    images: Path | None = None
    debug: bool = False
    settings: Settings = field(default_factory=Settings)
    state: Path | None = None
    """Where it is remembered what was shown; None remembers nothing."""

    @property
    def set_choice(self) -> SetChoice:
        """The stored set to open."""
        return SetChoice(self.steps, self.seed, self.capture, self.protocol, self.recipe, self.images, self.converged)

    @property
    def cache_label(self) -> str:
        """The cache's path, or the bundle's, with the home folder as ~."""
        path = self.bundle or self.cache
        try:
            return f"~/{path.absolute().relative_to(Path.home())}"
        except (ValueError, RuntimeError):
            return str(path)
