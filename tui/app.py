"""The app: wires screens, keys, the store's reader, marks and jobs. Textual is imported here and below only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from core.blocks import ModelInfo
from core.columns import COLUMNS
from core.errors import StreamscopeError, UsageError
from core.export import table_meta, write_table
from core.recipe import Capture
from core.spec import ModelSpec
from core.store import JobState, Marks, Store
from core.store.jobs import FINISHED, request_stop
from core.store.marks import check_tag
from core.table import with_marks
from tui import asking
from tui.graphics import Graphics, detect
from tui.job_control import JobWatch, describe, last_words, start_job
from tui.marking import Judged, Judgements, MarkingThread
from tui.messages import JobsPolled, JudgementsChanged, ModelFound, StoreRead, WorkFailed
from tui.picture import adopt_cell_size
from tui.reading import Reading, StoreReader, Wanted
from tui.screens import dialogs
from tui.screens.channels import ChannelsScreen, set_name
from tui.screens.compute import ComputeDialog
from tui.screens.dialogs import Choice, Notice, Prompt
from tui.screens.keys import key_help
from tui.screens.loading import LoadingScreen
from tui.triptych import Triptychs
from tui.widgets.blocks import BlockList
from tui.widgets.filter import FilterBar
from tui.widgets.preview import Preview
from tui.widgets.table import ChannelTable

POLL_SECONDS = 1.0
