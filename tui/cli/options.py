"""What was given on the command line: the options that every command shares, and what follows from them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from streamscope.core.errors import HomeError, ReadOnlyError, StoreError, UsageError
from streamscope.core.measures.extremes import MEIS
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.device_names import check_device
from streamscope.core.model.preprocessing import (
    INTERPOLATIONS,
    UNCHANGED,
    Changes,
    Colour,
    Interpolation,
    parse_colours,
)
from streamscope.core.model.recipe import DEFAULT_PROTOCOL, PROTOCOLS, Capture, Objective, Protocol, SetKey
from streamscope.core.model.sources.addresses import is_file, remembered_code, split_own
from streamscope.core.model.spec import FORMER_DEMO, MODELS, RELEASES, ModelSpec, architecture_of
from streamscope.core.store import FZSet, Marks, Scan, Store, marks_folder, recall, stored_spec
from streamscope.tui.advice import worded
from streamscope.tui.cli.bundles import is_bundle_file, unpacked_for
from streamscope.tui.cli.lines import say
from streamscope.tui.command_lines import DEFAULT_MODEL, CommandLine, command_line, default_cache

DEVICE_HELP = "auto (CUDA when there is one), cpu, cuda or cuda:N."


@dataclass(frozen=True)
class Given:
    """The common options, as given or by default."""

    model: str = DEFAULT_MODEL
    weights: str | None = None
    weights_entry: str | None = None
    cache: Path | None = None
    device: str = "auto"
    as_json: bool = False
    debug: bool = False
    steps: int | None = None
    seed: int | None = None
    capture: Capture | None = None
    protocol: Protocol | None = None
    recipe: Protocol | None = None
    until_converged: bool | None = None
    images: Path | None = None
    input_size: int | None = None
    resize: int | None = None
    interpolation: Interpolation | None = None
    mean: Colour | None = None
    std: Colour | None = None
    bundle: Path | None = None
    """The bundle that the cache is, as it was named: `cache` is then the folder that it is unpacked into."""

    @property
    def spec(self) -> ModelSpec:
        """Raises UsageError for an unknown model, WeightsError for weights that are an address."""
        changes = Changes(self.input_size, self.resize, self.interpolation, self.mean, self.std)
        return ModelSpec.given(self.model, self.weights, self.weights_entry or "", changes)

    @property
    def root(self) -> Path:
        return self.cache or default_cache()

    @property
    def place(self) -> Path:
        """The cache as people know it: of a bundle its file."""
        return self.bundle or self.root

    @property
    def commands(self) -> CommandLine:
        """Commands about what was given, for errors and reports to name."""
        return command_line(self.spec, self.place)

    def check_writable(self) -> None:
        """Raises ReadOnlyError where the cache is a bundle."""
        if self.bundle is not None:
            raise ReadOnlyError(f"{self.bundle} is a bundle, which is read only")

    def store(self) -> Store:
        """The store for reading. Raises StoreError when another version wrote it or it is no folder."""
        return Store.open(self.root)

    def info(self, store: Store) -> ModelInfo:
        """The model's description: the store's or the bundled one of these weights, else by loading them."""
        known = self.recalled(store)
        if known is not None:
            return known
        # torch takes seconds to import, so only a model that was never seen pays for it.
        from streamscope.tui.cli.loading import load

        return load(self.spec, "cpu").info

    def recalled(self, store: Store) -> ModelInfo | None:
        """As `Store.recall`, shown photographs as was said or as its weights want."""
        spec = self.spec
        known = recall(store, spec)
        if known is not None and spec.missing and self.bundle is None:
            _say_once(f"{spec.missing}: what is stored of {spec.name} is read, and nothing more of it can be computed")
        return known

    def as_stored(self, store: Store) -> Given:
        """As given, for a command that reads what is stored: the demo is the former one where only that is stored."""
        return replace(self, model=FORMER_DEMO) if stored_spec(store, self.spec).name == FORMER_DEMO else self

    def stored_info(self, store: Store) -> ModelInfo:
        """As `info`, for a command that only reads what is stored: nothing is downloaded to say that nothing is.

        Raises StoreError, which names what is stored instead.
        """
        spec = self.spec
        known = self.recalled(store)
        if known is not None:
            return known
        alike = any(architecture_of(info.name) == spec.architecture for info in store.models())
        if not alike or spec.is_downloaded:
            raise self.nothing_stored(store, None, "neuron")
        spec.check_computable()
        return self.info(store)

    def new_key(self, info: ModelInfo, objective: Objective = "neuron") -> SetKey:
        """The set that a computing command makes. Raises UsageError for steps or a seed that make no sense."""
        return info.new_key(objective=objective, **self.told)

    @property
    def told(self) -> dict[str, Any]:
        """What was said of the set, for `Store.fitting_sets` and `ModelInfo.new_key`."""
        return {
            "steps": self.steps,
            "seed": self.seed,
            "capture": self.capture,
            "protocol": self.protocol,
            "settings": self.recipe,
            "converged": self.until_converged,
        }

    def stored_set(self, store: Store, info: ModelInfo, objective: Objective = "neuron") -> FZSet:
        """The set that a reading command reads; said on stderr unless told or the only one. Raises StoreError."""
        fzset = store.choose_set(info, objective=objective, **self.told)
        if fzset is None:
            raise self.nothing_stored(store, info, objective)
        fitting = [other.key for other in store.fitting_sets(info, objective=objective, **self.told)]
        if len(fitting) > 1:
            say(f"streamscope: {_chosen(fzset.key, fitting)}", err=True)
        return fzset

    def stored_scan(self, store: Store, fzset: FZSet) -> Scan | None:
        """The finished scan that a reading command reads beside a set; said on stderr unless told or the only one, and
        with what it lacks.

        None where nothing was scanned and none was asked for. Raises StoreError.
        """
        info, protocol = fzset.info, fzset.key.protocol
        scan = store.choose_scan(info, self.images)
        if scan is None and self.images is not None:
            raise StoreError(
                f"{self.images} has no finished scan by {info.name} in {self.place}; "
                f"run '{self.commands('scan', self.images)}' first"
            )
        if scan is not None:
            lacks = few_images(len(scan.images))
            again = self.commands("scan", scan.source)
            if not lacks and (other := scan.other_preparation(info)):
                lacks = f"{other}; '{again}' scans them so"
            if not lacks and not scan.has_robust(protocol):
                lacks = f"it lacks what robust and the mei_ columns of {protocol} sets need; run '{again}' again"
            if lacks or (self.images is None and len({s.source for s in store.scans(info)}) > 1):
                say(f"streamscope: reading the scan of {scan.source}{f': {lacks}' if lacks else ''}", err=True)
        return scan

    def nothing_stored(
        self, store: Store, info: ModelInfo | None, objective: Objective = "neuron", words: tuple[str, ...] = ()
    ) -> StoreError:
        """Says what is not there, how to make it, and what is there of other models; `words` are further options of the
        command that makes it."""
        named = {
            "protocol": self.protocol,
            "recipe": self.recipe,
            "steps": self.steps,
            "seed": self.seed,
            "capture": self.capture,
        }
        parts = [f"{name} {value}" for name, value in named.items() if value is not None]
        which = ", ".join([*parts, "until converged"] if self.until_converged else parts)
        what = "nothing" if objective == "neuron" else "no channel FZ"
        options = [word for name, value in named.items() if value is not None for word in (f"--{name}", value)]
        options += ["--until-converged"] if self.until_converged else []
        options += ["--objective", objective] if objective != "neuron" else []
        others = [other for other in store.models() if store.sets(other) and (info is None or other != info)]
        stored = "; ".join(f"{other.name} ({_asked_by(store, other)})" for other in others)
        # Nobody can compute more of the former demo, or into a bundle.
        final = self.model == FORMER_DEMO or self.bundle is not None
        how = "" if final else f"; run '{self.commands('compute', *words, *options)}' first"
        return StoreError(
            f"{what} is stored of {info.name if info else self.spec.name}{f' with {which}' if which else ''} in "
            f"{self.place}{how}{f'. Stored: {stored}' if stored else ''}"
        )

    def marks(self, info: ModelInfo) -> Marks | None:
        """The user's marks, for a command that only reads them: where they have no place it goes on without, and says
        so on stderr, as what of them cannot be read."""
        try:
            marks = Marks(marks_folder(), info.identity, info.name, self.store().given_marks)
        except HomeError as error:
            say(f"streamscope: marks are not read: {worded(error)}", err=True)
            return None
        for problem in marks.problems:
            say(f"streamscope: {worded(problem)}", err=True)
        return marks


def few_images(count: int) -> str:
    """What so few images leave empty; "" where they are enough."""
    if count >= MEIS:
        return ""
    return f"{count} image{'s' * (count != 1)}, fewer than the {MEIS} MEIs that robust and all mei_ columns need"


def _chosen(key: SetKey, fitting: list[SetKey]) -> str:
    """Which of several sets is read, by what they differ in."""
    converging = {False: "the recipe's steps", True: "until converged"}
    ways: dict[str, Callable[[SetKey], str]] = {
        "--protocol": lambda k: f"protocol {k.protocol}",
        "--recipe": lambda k: f"the settings of {k.recipe.settings}",
        "--steps": lambda k: f"{k.recipe.steps} steps",
        "--until-converged": lambda k: converging[k.recipe.plateau is not None],
        "--seed": lambda k: f"seed {k.seed}",
        "--capture": lambda k: f"capture {k.capture}",
    }
    differing = {option: say(key) for option, say in ways.items() if len({say(k) for k in fitting}) > 1}
    read = ", ".join(differing.values()) or str(key)
    how = f" ({' or '.join(differing)} chooses another)" if differing else ""
    return f"reading {read} of {len(fitting)} stored sets{how}"


def _asked_by(store: Store, info: ModelInfo) -> str:
    """The options that a command reads a stored model by."""
    words = "".join(f" {word}" for word in info.unusual.words())
    if (code := _code_of(store, info)) is not None:
        return f"--model {shlex.quote(f'{code.parent}/{info.name}')}{words}"
    with suppress(UsageError):
        # What is known by its name alone needs no more said.
        for changes, said in ((UNCHANGED, ""), (info.unusual, words)):
            for name in (info.name, FORMER_DEMO):
                if store.recall(ModelSpec(name, changes=changes).text) == info:
                    return f"--model {name}{said}"
            for release in RELEASES.get(info.name, ()):
                if store.recall(ModelSpec(info.name, changes=changes, release=release).text) == info:
                    return f"--model {info.name} --weights {release}{said}"
    return f"--model {info.name}{words} with its --weights FILE"


def _code_of(store: Store, info: ModelInfo) -> Path | None:
    """The file of a network of one's own that a stored model was made from."""
    named = split_own(architecture_of(info.name))
    if named is None or not is_file(named[0]):
        return None
    texts = [alias.spec for alias in store.aliases() if alias.fingerprint == info.identity]
    return next(filter(None, (remembered_code(info.name, text) for text in texts)), None)


def _say_once(line: str) -> None:
    """A line on stderr, however often a command comes to it."""
    context = click.get_current_context(silent=True)
    said: set[str] = context.meta.setdefault(__name__, set()) if context is not None else set()
    if line not in said:
        said.add(line)
        say(f"streamscope: {line}", err=True)


def _colours(context: click.Context, option: click.Parameter, text: str | None) -> Colour | None:
    return None if text is None else parse_colours(text, option.opts[0])


_COMMON = (
    click.option(
        "--model",
        metavar="NAME",
        help=f"Model: {', '.join(MODELS)}, or another that 'streamscope models' names; timm:NAME for one of timm's; "
        "FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION for your own: that code runs, and the function returns the "
        f"network (an nn.Module).  [default: {DEFAULT_MODEL}]",
    ),
    click.option(
        "--weights",
        metavar="FILE",
        help="Weights to use instead of the default ones: a checkpoint in any of the usual layouts, of which no code "
        "is run; a folder with config.json, as Hugging Face has them; or the name of torchvision's, such as "
        "IMAGENET1K_V1.",
    ),
    click.option(
        "--weights-entry",
        metavar="NAME",
        help="Which weights of a FILE that holds several which fit, such as teacher or model_ema.",
    ),
    click.option(
        "--input-size",
        type=int,
        metavar="N",
        help="Side in px of the images that the model is shown; FZs of another size are another set.  "
        "[default: what the weights want, else 224]",
    ),
    click.option(
        "--resize",
        type=int,
        metavar="N",
        help="Shorter side in px of photographs, before their middle is cut out.  "
        "[default: what the weights want, else 256 for 224]",
    ),
    click.option(
        "--interpolation",
        type=click.Choice(INTERPOLATIONS),
        help="How photographs are resized.  [default: what the weights want, else bilinear]",
    ),
    click.option(
        "--mean",
        metavar="R,G,B",
        callback=_colours,
        help="Mean of the colours, of values from 0 to 1.  [default: what the weights want, else ImageNet's]",
    ),
    click.option(
        "--std",
        metavar="R,G,B",
        callback=_colours,
        help="Deviation of the colours, of values from 0 to 1.  [default: what the weights want, else ImageNet's]",
    ),
    click.option(
        "--cache",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Store of FZs and measures, or a bundle (OUT.zip), which is read only.  "
        "[default: $STREAMSCOPE_CACHE, else cache/ in a checkout, else the user's cache folder]",
    ),
    click.option("--json", "as_json", is_flag=True, default=None, help="Machine-readable output on stdout."),
    click.option("--debug", is_flag=True, default=None, help="Show the whole traceback of an error."),
)
_DEVICE = (click.option("--device", metavar="DEVICE", help=f"{DEVICE_HELP}  [default: auto]"),)
_NO_DEVICE = (click.option("--device", hidden=True, help="Nothing is computed."),)
"""Taken, as every command takes the common options, by commands that compute nothing."""
until_converged_option = click.option(
    "--until-converged",
    is_flag=True,
    default=None,
    help="FZs that each stopped when their activation had converged, instead of the recipe's steps.",
)
_SETS = (
    click.option(
        "--protocol",
        type=click.Choice(PROTOCOLS),
        help="How FZs are made and scaled: centred, or paper: as published, shifted one way and scaled about the "
        f"image's centre, for comparing.  [default: the stored set's; of a new one {DEFAULT_PROTOCOL}]",
    ),
    click.option(
        "--recipe",
        type=click.Choice(PROTOCOLS),
        help="The optimiser's settings: those of centred, or the paper's, which take twenty times the steps.  "
        "[default: the protocol's own]",
    ),
    click.option(
        "--steps",
        type=int,
        metavar="N",
        help="Optimisation steps of the set.  "
        "[default: the stored set's; of a new one 128, by the paper's recipe 2560, of demo's 448]",
    ),
    click.option("--seed", type=int, metavar="N", help="Seed of the set.  [default: the stored set's; of a new one 0]"),
    click.option(
        "--capture",
        type=click.Choice(["exact", "lucent"]),
        help="exact tensors, or lucent: the aliased `block` of uncopied hooks, "
        "for comparing with published lists only.",
    ),
    until_converged_option,
    click.option(
        "--images",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Scanned folder of images that image-derived numbers come from.  [default: the last one scanned]",
    ),
)

PREPROCESSING_NAMES = ("input_size", "resize", "interpolation", "mean", "std")
"""Of options that, as `model` and `weights` do, say which model is meant."""
SET_NAMES = frozenset({"steps", "seed", "capture", "protocol", "recipe", "until_converged", "images"})
_COMMON_NAMES = frozenset(Given.__dataclass_fields__) - SET_NAMES - {"bundle"}


objective_option = click.option(
    "--objective",
    type=click.Choice(["neuron", "channel"]),
    default="neuron",
    show_default=True,
    help="FZs of the centre neuron, or of the channel's mean over space: channel FZs, for looking at only.",
)
"""For the commands that make or write FZs; everything else is about the centre neuron's."""


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that every command has; the command gets them as its first argument, a `Given`."""
    return _with(command, _COMMON + _NO_DEVICE, _COMMON_NAMES)


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `common_options`, for a command that computes."""
    return _with(command, _COMMON + _DEVICE, _COMMON_NAMES)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `common_options`, with those that choose a stored set."""
    return _with(command, _COMMON + _NO_DEVICE + _SETS, _COMMON_NAMES | SET_NAMES)


def set_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `reading_options`, for a command that computes."""
    return _with(command, _COMMON + _DEVICE + _SETS, _COMMON_NAMES | SET_NAMES)


def model_named() -> bool:
    """Whether a model was named on the command line, here or before the command."""
    context: click.Context | None = click.get_current_context()
    while context is not None:
        if any(context.params.get(name) is not None for name in ("model", "weights", *PREPROCESSING_NAMES)):
            return True
        context = context.parent
    return False


def _of_bundle(given: Given, context: click.Context) -> Given:
    """As given, where the cache is a bundle: unpacked, and about its model unless another was named."""
    named = given.cache or os.environ.get("STREAMSCOPE_CACHE")
    if named is None or given.bundle is not None:
        return given
    path = Path(named)
    if path.suffix.lower() == ".zip" and not path.exists():
        # A cache that is not there is an empty one; a bundle that is not there is another's name.
        raise StoreError(f"no such file: {path}")
    folder = unpacked_for(context, path) if is_bundle_file(path) else path
    try:
        record = Store(folder).bundle
    except StoreError:
        # Said by whatever opens it.
        record = None
    if record is None:
        return given
    return replace(given, bundle=path, cache=folder, model=given.model if model_named() else record.model)


def _with(
    command: Callable[..., Any], options: tuple[Callable[..., Any], ...], names: frozenset[str]
) -> Callable[..., Any]:
    @click.pass_context
    @wraps(command)
    def run(context: click.Context, /, **values: Any) -> Any:
        own = {name: values.pop(name) for name in names}
        # What was given before the command's name holds unless the command says otherwise.
        above = context.find_object(Given) or Given()
        told = {n: v for n, v in own.items() if v is not None}
        given = Given(**{**above.__dict__, **({"bundle": None} if "cache" in told else {}), **told})
        check_device(given.device)
        return command(_of_bundle(given, context), **values)

    for option in reversed(options):
        run = option(run)
    return run
