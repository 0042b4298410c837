"""How long the stages of a pod's life take and how they end: data, read from stages.yaml and laid over it.

What is laid over has the same fields, only those that differ: the life cycles of a fleet file, the annotation `stages`
of a pod. Every mistake is a sentence with the path of the field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

from twinplane.dataplane.simulation import document
from twinplane.dataplane.simulation.document import Fields, InvalidFleet
from twinplane.dataplane.simulation.logs import LINES_MAX

STAGES_ANNOTATION = "simulation.twinplane.io/stages"
EXIT_CODE_MAX = 255
EVENT_TYPES = ("Normal", "Warning")


@dataclass(frozen=True, slots=True)
class Delay:
    seconds: float
    jitter: float = 0.0

    def draw(self, random: Random) -> float:
        return self.seconds + self.jitter * random.random()


@dataclass(frozen=True, slots=True)
class Run(Delay):
    """A process: how long it runs, and how it ends."""

    exit_code: int = 0
    reason: str = ""
    """Of the terminated state; empty for what the exit code says."""
    message: str = ""
    container: str = ""
    """The one that it is about; empty for all of their kind."""


@dataclass(frozen=True, slots=True)
class Backoff:
    first: float
    max: float
    reset_after: float = 600.0

    def after(self, failures: int) -> float:
        """The pause after the given number of failures in a row, at least one."""
        return float(min(self.first * (1 << min(failures - 1, 16)), self.max))


@dataclass(frozen=True, slots=True)
class EventText:
    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Stages:
    sandbox: Delay
    pull: Delay
    start: Delay
    ready: Delay
    """From the start until the process would pass its probes, which begin after their own delays."""
    init_run: Run
    job_run: Delay
    crash_run: Delay
    stop: Delay
    pull_backoff: Backoff
    restart_backoff: Backoff
    events: Mapping[str, EventText]
    run: Run | None = None
    """How main containers end, whatever the pod says; None leaves it to the pod."""
    log: tuple[str, ...] | None = None
    """What main containers print when they start; None leaves it to the pod."""

    def run_of(self, container: str) -> Run | None:
        return self.run if self.run is not None and self.run.container in ("", container) else None


_DELAYS = {name: name for name in ("sandbox", "pull", "start", "ready", "stop")} | {
    "jobRun": "job_run",
    "crashRun": "crash_run",
}
_RUNS = {"run": "run", "initRun": "init_run"}
_BACKOFFS = {"pullBackoff": "pull_backoff", "restartBackoff": "restart_backoff"}


def overlaid(base: Stages, fields: Fields) -> Stages:
    """`base` with the stages that `fields` has, which are taken out of it. Raises `InvalidFleet`."""
    changed: dict[str, object] = {}
    for table, read in ((_DELAYS, _delay), (_RUNS, _run), (_BACKOFFS, _backoff)):
        for key, attribute in table.items():
            if (found := fields.optional(key, read)) is not None:
                changed[attribute] = found
    if (log := fields.optional("log", _log)) is not None:
        changed["log"] = log
    if (events := fields.optional("events", _events(base.events))) is not None:
        changed["events"] = events
    return dataclasses.replace(base, **changed) if changed else base  # type: ignore[arg-type]  # names from the tables


def read_stages(value: object, place: str, base: Stages | None = None) -> Stages:
    """A document of stages and nothing else. Raises `InvalidFleet`."""
    fields = Fields(value, place)
    found = overlaid(base or default_stages(), fields)
    fields.done()
    return found


def annotated(text: str, base: Stages) -> Stages:
    """What a pod's annotation changes, in YAML or JSON. Raises `InvalidFleet`."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidFleet(f"{STAGES_ANNOTATION}: {' '.join(str(error).split())}") from error
    return read_stages(value, STAGES_ANNOTATION, base)


@cache
def default_stages() -> Stages:
    """Those of stages.yaml."""
    import yaml

    fields = Fields(yaml.safe_load(files(__package__).joinpath("stages.yaml").read_text()), "stages.yaml")
    return Stages(
        sandbox=fields.take("sandbox", _delay),
        pull=fields.take("pull", _delay),
        start=fields.take("start", _delay),
        ready=fields.take("ready", _delay),
        init_run=fields.take("initRun", _run),
        job_run=fields.take("jobRun", _delay),
        crash_run=fields.take("crashRun", _delay),
        stop=fields.take("stop", _delay),
        pull_backoff=fields.take("pullBackoff", _backoff),
        restart_backoff=fields.take("restartBackoff", _backoff),
        events=fields.take("events", _events({})),
    )


def _delay(value: object, place: str) -> Delay:
    fields = Fields(value, place)
    found = Delay(fields.take("seconds", document.duration), fields.given("jitter", document.duration, 0.0))
    fields.done()
    return found


def _run(value: object, place: str) -> Run:
    fields = Fields(value, place)
    run = Run(
        fields.take("seconds", document.duration),
        fields.given("jitter", document.duration, 0.0),
        exit_code=fields.given("exitCode", document.count, 0),
        reason=fields.given("reason", document.text, ""),
        message=fields.given("message", document.text, ""),
        container=fields.given("container", document.text, ""),
    )
    fields.done()
    if run.exit_code > EXIT_CODE_MAX:
        raise InvalidFleet(f"{place}.exitCode: at most {EXIT_CODE_MAX}")
    return run


def _log(value: object, place: str) -> tuple[str, ...]:
    """A text, or a list of lines."""
    lines = tuple(value.splitlines()) if isinstance(value, str) else document.texts(value, place)
    if len(lines) > LINES_MAX:
        raise InvalidFleet(f"{place}: {len(lines)} lines are more than {LINES_MAX}")
    return lines


def _backoff(value: object, place: str) -> Backoff:
    fields = Fields(value, place)
    first, most = fields.take("first", document.duration), fields.take("max", document.duration)
    found = Backoff(first, most, fields.given("resetAfter", document.duration, 600.0))
    fields.done()
    if not 0 < found.first <= found.max:
        raise InvalidFleet(f"{place}: first must be more than 0, and max not less than that")
    return found


def _events(known: Mapping[str, EventText]) -> Callable[[object, str], dict[str, EventText]]:
    """Of a document that changes the texts that are `known`; of any names where none are."""

    def read(value: object, place: str) -> dict[str, EventText]:
        if not isinstance(value, Mapping):
            raise InvalidFleet(f"{place}: must be a mapping")
        unknown = sorted(str(name) for name in value if known and name not in known)
        if unknown:
            raise InvalidFleet(f"{place}: unknown event {', '.join(unknown)}")
        return {**known, **{str(name): _event_text(item, f"{place}.{name}") for name, item in value.items()}}

    return read


def _event_text(value: object, place: str) -> EventText:
    fields = Fields(value, place)
    text = EventText(
        fields.take("type", document.one_of(*EVENT_TYPES)),
        fields.take("reason", document.text),
        fields.take("message", document.text),
    )
    fields.done()
    try:
        text.message.format_map(dict.fromkeys(EVENT_WORDS, ""))
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        words = ", ".join(f"{{{word}}}" for word in EVENT_WORDS)
        raise InvalidFleet(f"{place}.message: only {words} may stand in braces") from error
    return text


EVENT_WORDS = ("image", "container", "pod", "namespace", "uid", "took", "size", "why", "probe")
"""What a message may name. `took` and `size` are of a pull, `why` and `probe` of a failure."""
