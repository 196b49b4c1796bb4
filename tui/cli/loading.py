"""Loads a network for a command, and says of its weights what is to be said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamscope.core.model.spec import ModelSpec
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.progress import download_progress

if TYPE_CHECKING:
    from streamscope.core.engine.network import Network


def load(spec: ModelSpec, device: str) -> Network:
    """As `load_network`, with a bar while weights are downloaded. What was done to get them out of their file, and what
    the file says against them, are lines on stderr."""
    # torch takes seconds to import.
    from streamscope.core.engine.network import load_network

    with download_progress(f"downloading {spec.name}") as progress:
        network = load_network(spec, device, progress)
    # Some commands load twice: to know the model, and to compute with it.
    said: set[str] = click.get_current_context().meta.setdefault(__name__, set())
    lines = [f"{spec.weights}: {network.layout}"] if network.layout else []
    for line in [*lines, *(f"warning: {warning}" for warning in network.warnings)]:
        if line not in said:
            said.add(line)
            say(f"streamscope: {line}", err=True)
    return network
