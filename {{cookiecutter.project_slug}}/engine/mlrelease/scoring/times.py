"""A time is one time, however it is spelled and stored."""

import datetime as dt
import re

# Half of a day or of an hour is no time of ours: "2026-05" stays a text.
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?: ?(Z|[+-]\d\d(?::?\d\d)?))?",
    re.ASCII,
)


def plain_time(text: str) -> str:
    """A time as UTC, without what is nothing: 2026-05-01T12:00:00.000+02:00 is 2026-05-01 10:00:00,
    and a midnight is a day. Another text stays as it is."""
    found = _TIME.fullmatch(text)
    if not found:
        return text
    day, minute, second, fraction, zone = found.groups()
    clock = f"{minute}:{second or '00'}"
    if zone and zone.strip("Z+-0:"):
        try:
            here = dt.datetime.fromisoformat(f"{day} {clock}{zone}")
            day, clock = str(here.astimezone(dt.UTC).replace(tzinfo=None)).split(" ")
        except (ValueError, OverflowError):  # no such hour, or before the first year
            return text
    fraction = (fraction or "").rstrip("0")
    clock += f".{fraction}" if fraction else ""
    return day if clock == "00:00:00" else f"{day} {clock}"
