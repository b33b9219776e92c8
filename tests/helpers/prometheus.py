"""A strict reader of Prometheus' text format: it refuses what the format does not allow."""

import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\+Inf|-?[0-9.e+-]+)")
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str, *, openmetrics: bool = False) -> Samples:
    """Return the value of each sample, by its name and labels. Raises AssertionError with the line that is wrong."""
    assert text.endswith("\n")
    lines = text.removesuffix("\n").split("\n")
    if openmetrics:
        assert lines.pop() == "# EOF"
    samples: Samples = {}
    families: dict[str, str] = {}
    family, described = "", ""
    for line in lines:
        if found := re.fullmatch(rf"# HELP ({_NAME}) (.+)", line):
            described = found[1]
            assert described not in families, line
        elif found := re.fullmatch(rf"# TYPE ({_NAME}) (counter|gauge|histogram)", line):
            family = found[1]
            assert family == described, line
            families[family] = found[2]
        elif found := re.fullmatch(rf"# UNIT ({_NAME}) ([a-z]+)", line):
            assert openmetrics, line
            assert found[1] == family, line
            assert family.endswith("_" + found[2]), line
        else:
            found = _SAMPLE.fullmatch(line)
            assert found, line
            name = found[1]
            kind = families[family]
            suffixes = _SUFFIXES.get(kind, ("_total",) if openmetrics and kind == "counter" else ("",))
            assert name in [family + suffix for suffix in suffixes], line
            assert kind != "counter" or name.endswith("_total"), line
            labels = tuple(re.findall(_LABEL, found[2] or ""))
            assert (name, labels) not in samples, line
            samples[name, labels] = float(found[found.lastindex or 0])
    for family, kind in families.items():
        if kind == "histogram":
            _check_histogram(family, samples)
    return samples


def _check_histogram(family: str, samples: Samples) -> None:
    buckets = [(dict(labels)["le"], value) for (name, labels), value in samples.items() if name == family + "_bucket"]
    bounds = [float(bound) for bound, _ in buckets]
    counts = [count for _, count in buckets]
    assert bounds == sorted(bounds), family
    assert counts == sorted(counts), family
    assert buckets[-1] == ("+Inf", samples[family + "_count", ()]), family
