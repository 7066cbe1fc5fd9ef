r"""Families of metrics as text: Prometheus 0.0.4 and OpenMetrics 1.0.0.

>>> errors = Family("errors", "counter", "Errors.", [(Labels(kind="a\nb"), 2)])
>>> print(openmetrics([errors]), end="")
# HELP errors Errors.
# TYPE errors counter
errors_total{kind="a\nb"} 2
# EOF
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_SUFFIXES: Final = {"counter": "_total", "gauge": "", "info": "_info"}
_REPLACED: Final = "\ufffd"


def clean(value: str) -> str:
    r"""A value that every parser takes: no control characters but line feeds, no surrogates.

    >>> clean("a\x00b\n\ud800")
    'a�b\n�'
    """
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() or c == "\n" else _REPLACED for c in value)


def escape(value: str) -> str:
    r"""A label's value between its quotes.

    >>> print(escape('say "no"\\\n'))
    say \"no\"\\\n
    """
    if value.isprintable() and '"' not in value and "\\" not in value:
        return value
    return clean(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Labels:
    """Names and values of labels, and the text that they are, made once.

    Labels whose text is the same are the same series.
    """

    __slots__ = ("pairs", "text")

    def __init__(self, **pairs: str) -> None:
        self.pairs = {name: clean(value) for name, value in pairs.items()}
        inner = ",".join(f'{name}="{escape(value)}"' for name, value in pairs.items())
        self.text = f"{{{inner}}}" if inner else ""

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class Family(NamedTuple):
    """One metric and its series. ``kind`` is counter, gauge or info.

    ``name`` is without ``_total`` and ``_info``. Where there is a unit, the name ends with it.
    """

    name: str
    kind: str
    help: str
    samples: list[tuple[Labels, float]]
    unit: str = ""

    @property
    def sample_name(self) -> str:
        """What its series are called."""
        return self.name + _SUFFIXES[self.kind]


def _lines(family: Family) -> Iterable[str]:
    name = family.sample_name
    for labels, value in family.samples:
        yield f"{name}{labels.text} {value!r}"


def text(families: Iterable[Family]) -> str:
    """Prometheus text 0.0.4. It knows no info: that is a gauge of value 1."""
    out: list[str] = []
    for family in families:
        name = family.sample_name
        kind = "gauge" if family.kind == "info" else family.kind
        out += (f"# HELP {name} {_help(family.help)}", f"# TYPE {name} {kind}", *_lines(family))
    return "\n".join([*out, ""])


def openmetrics(families: Iterable[Family]) -> str:
    """OpenMetrics 1.0.0."""
    out: list[str] = []
    for family in families:
        # In the order of the specification's examples: all of them are before the samples.
        out += (f"# HELP {family.name} {_help(family.help)}", f"# TYPE {family.name} {family.kind}")
        out += [f"# UNIT {family.name} {family.unit}"] if family.unit else []
        out += _lines(family)
    return "\n".join([*out, "# EOF", ""])


def _help(words: str) -> str:
    return words.replace("\\", r"\\").replace("\n", r"\n")
