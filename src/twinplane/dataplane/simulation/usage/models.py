"""Usage models: what a container consumes over time, as a share of what it requests or as an amount.

A model has a curve for CPU and one for memory, and noise that is seeded by the container, so that no two replicas look
alike and each looks the same whenever it is asked. Which model is a pod's: its annotation or label
`simulation.twinplane.io/usage`, else the first rule of the fleet that matches its labels, else that of its node group,
else `default` of usage.yaml.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from twinplane.dataplane.simulation import document
from twinplane.dataplane.simulation.document import Fields, InvalidFleet
from twinplane.dataplane.simulation.usage.curves import Constant, Curve, Noise, Ramp, Steps, Wave
from twinplane.kubeclient.quantity import parse

SELECTOR = "simulation.twinplane.io/usage"
DAY_SECONDS = 86_400.0
HOUR_SECONDS = 3_600.0
DEFAULT_CPU_CORES = 0.01
DEFAULT_MEMORY_BYTES = 32 * 1024**2
"""What a share is of, for a container that neither requests nor limits anything."""
TRACE_ROWS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Amount:
    """One resource over time: of what it requests when `relative`, else in cores or bytes."""

    curve: Curve
    relative: bool


@dataclass(frozen=True, slots=True)
class Model:
    cpu: Amount
    memory: Amount
    noise: float
    """Share of the curve's lowest level, so that noise never makes a level negative."""


@dataclass(frozen=True, slots=True)
class UsageRule:
    selector: dict[str, str]
    model: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.selector.items())


@dataclass(frozen=True, slots=True)
class Consumer:
    """A container that runs."""

    seed: str
    began: float
    cpu_cores: float
    """What it requests, else its limit, else a little."""
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Usage:
    cpu_cores: float
    cpu_seconds: float
    """Since it began."""
    memory_bytes: float


def usage(model: Model, consumer: Consumer, now: float) -> Usage:
    began, moment = consumer.began, max(now, consumer.began)
    cpu_scale = consumer.cpu_cores if model.cpu.relative else 1.0
    memory_scale = consumer.memory_bytes if model.memory.relative else 1.0
    cpu, memory = model.cpu.curve, model.memory.curve
    cpu_noise = Noise.seeded(model.noise * cpu.lowest, consumer.seed)
    memory_noise = Noise.seeded(model.noise * memory.lowest, consumer.seed + "/memory")
    return Usage(
        cpu_cores=cpu_scale * (cpu.level(moment, began) + cpu_noise.level(moment, began)),
        cpu_seconds=max(0.0, cpu_scale * (cpu.total(moment, began) + cpu_noise.total(moment, began))),
        memory_bytes=memory_scale * (memory.level(moment, began) + memory_noise.level(moment, began)),
    )


def read_model(value: object, place: str) -> Model:
    """Raises `InvalidFleet`."""
    fields = Fields(value, place)
    kind = fields.take("kind", document.one_of(*_READERS))
    model = _READERS[kind](fields)
    fields.done()
    return model


def read_rule(value: object, place: str) -> UsageRule:
    fields = Fields(value, place)
    rule = UsageRule(fields.take("selector", document.labels), fields.take("model", document.text))
    fields.done()
    return rule


def _constant(fields: Fields) -> Model:
    cpu, memory = fields.take("cpu", _level), fields.take("memory", _level)
    return Model(
        Amount(Constant(cpu[0]), cpu[1]),
        Amount(Constant(memory[0]), memory[1]),
        fields.given("noise", document.share, 0.0),
    )


def _daily_wave(fields: Fields) -> Model:
    period = fields.given("period", document.duration, DAY_SECONDS)
    peak = fields.given("peakHour", document.number, 14.0) * HOUR_SECONDS
    if period < 1:
        raise InvalidFleet(f"{fields.place}.period: must be at least 1s")

    def wave(value: object, place: str) -> Amount:
        range_ = Fields(value, place)
        low, high = range_.take("low", _level), range_.take("high", _level)
        range_.done()
        if low[1] != high[1] or low[0] > high[0]:
            raise InvalidFleet(f"{place}: low must not be more than high, and both be shares or both amounts")
        return Amount(Wave(low[0], high[0], period, peak), low[1])

    return Model(fields.take("cpu", wave), fields.take("memory", wave), fields.given("noise", document.share, 0.0))


def _ramp(fields: Fields) -> Model:
    over = fields.take("over", document.duration)
    if over < 1:
        raise InvalidFleet(f"{fields.place}.over: must be at least 1s")

    def ramp(value: object, place: str) -> Amount:
        range_ = Fields(value, place)
        first, last = range_.take("from", _level), range_.take("to", _level)
        range_.done()
        if first[1] != last[1]:
            raise InvalidFleet(f"{place}: from and to must both be shares or both amounts")
        return Amount(Ramp(first[0], last[0], over), first[1])

    return Model(fields.take("cpu", ramp), fields.take("memory", ramp), fields.given("noise", document.share, 0.0))


def _trace(fields: Fields) -> Model:
    text = fields.take("csv", document.text)
    repeat = fields.given("repeat", document.boolean, False)
    place = f"{fields.place}.csv"
    rows = list(csv.DictReader(io.StringIO(text.strip()), skipinitialspace=True))
    if not rows or not {"seconds", "cpu", "memory"} <= set(rows[0]):
        raise InvalidFleet(f"{place}: needs a heading `seconds,cpu,memory` and at least one row")
    if len(rows) > TRACE_ROWS_MAX:
        raise InvalidFleet(f"{place}: {len(rows)} rows are more than {TRACE_ROWS_MAX}")
    moments = [_cell(row, "seconds", place, index) for index, row in enumerate(rows)]
    if moments[0] != 0 or any(later <= sooner for sooner, later in pairwise(moments)):
        raise InvalidFleet(f"{place}: seconds must start at 0 and grow from row to row")
    # Without a next row nobody knows how long the last one holds: as long as the one before.
    last = moments[-1] - moments[-2] if len(moments) > 1 else DAY_SECONDS
    period = moments[-1] + last if repeat else 0.0

    def column(name: str) -> Amount:
        values = [_cell(row, name, place, index) for index, row in enumerate(rows)]
        return Amount(Steps.of(list(zip(moments, values, strict=True)), period), relative=False)

    return Model(column("cpu"), column("memory"), fields.given("noise", document.share, 0.0))


_READERS: dict[str, Callable[[Fields], Model]] = {
    "constant": _constant,
    "dailyWave": _daily_wave,
    "ramp": _ramp,
    "trace": _trace,
}


def _level(value: object, place: str) -> tuple[float, bool]:
    """(value, relative): a number is a share of the request, text a quantity such as 250m or 64Mi."""
    if isinstance(value, str):
        return _quantity(value, place), False
    found = document.number(value, place)
    if found < 0:
        raise InvalidFleet(f"{place}: must not be negative")
    return found, True


def _cell(row: Mapping[str, Any], name: str, place: str, index: int) -> float:
    return _quantity(str(row.get(name) or "").strip(), f"{place} row {index + 1}, {name}")


def _quantity(text: str, place: str) -> float:
    try:
        found = float(parse(text))
    except ValueError as error:
        raise InvalidFleet(f"{place}: {text!r} is no quantity") from error
    if found < 0:
        raise InvalidFleet(f"{place}: must not be negative")
    return found


@cache
def built_in_models() -> dict[str, Model]:
    """Those of usage.yaml."""
    import yaml

    data = yaml.safe_load(files(__package__).joinpath("usage.yaml").read_text())
    return {name: read_model(item, f"usage.yaml {name}") for name, item in data.items()}
