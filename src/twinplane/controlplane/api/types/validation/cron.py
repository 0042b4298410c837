"""The schedule of a CronJob, in the syntax of robfig/cron's standard parser, and time zone names."""

from __future__ import annotations

import re
import zoneinfo

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = dict(zip(_MONTH_NAMES, range(1, 13), strict=True))
_DAYS = dict(zip(["sun", "mon", "tue", "wed", "thu", "fri", "sat"], range(7), strict=True))
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_DESCRIPTORS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_EVERY = re.compile(r"@every (?:[0-9]+(?:\.[0-9]+)?(?:ns|us|ms|s|m|h))+").fullmatch


def problems(schedule: str) -> tuple[str, ...]:
    """What the parser says of a schedule; nothing when it is good."""
    if schedule.startswith("@"):
        if schedule in _DESCRIPTORS or _EVERY(schedule):
            return ()
        return (f"unrecognized descriptor: {schedule}",)
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return (f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]",)
    for text, (low, high, words) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            problem = _range_problem(part, low, high, words)
            if problem:
                return (problem,)
    return ()


def _range_problem(part: str, low: int, high: int, words: dict[str, int]) -> str:
    span, *steps = part.split("/")
    if len(steps) > 1:
        return f"too many slashes: {part}"
    ends = span.split("-")
    if len(ends) > 2:
        return f"too many hyphens: {part}"
    if ends[0] in ("*", "?"):
        numbers: list[int | None] = [low, high]
    else:
        numbers = [_number(end, words) for end in ends]
    for text, number in zip(ends, numbers, strict=False):
        if number is None:
            return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
    if steps and (not steps[0].isdigit()):
        return f'failed to parse int from {steps[0]}: strconv.Atoi: parsing "{steps[0]}": invalid syntax'
    first, last = numbers[0] or 0, numbers[-1] or 0
    if first < low:
        return f"beginning of range ({first}) below minimum ({low}): {part}"
    if last > high:
        return f"end of range ({last}) above maximum ({high}): {part}"
    if first > last:
        return f"beginning of range ({first}) beyond end of range ({last}): {part}"
    return f"step of range should be a positive number: {part}" if steps and int(steps[0]) == 0 else ""


def _number(text: str, words: dict[str, int]) -> int | None:
    if text.lower() in words:
        return words[text.lower()]
    return int(text) if text.isascii() and text.isdigit() else None


def zone_problems(zone: str) -> tuple[str, ...]:
    if not zone:
        return ("timeZone must be nil or non-empty string",)
    if zone.lower() == "local":
        return ("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",)
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return (f"unknown time zone {zone}",)
    return ()
