"""What the outcome of an hour comes to, in figures."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean

from offchain.discovery.sim.hour import Outcome, Search
from offchain.discovery.sim.registrar import percentile

BANDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096)
"""Searches are put together by how many other honest advertisers their topic has: from one of these to the next."""


def hour_figures(outcome: Outcome) -> dict[str, object]:
    """One document: totals, then by the popularity of topics."""
    waits = [wait for each in outcome.waits.values() for wait in each]
    messages = [float(each) for each in outcome.messages]
    return {
        "searches": len(outcome.searches),
        "possible": outcome.possible,
        "eclipsed": outcome.eclipsed,
        "asked": _mean([search.asked for search in outcome.searches]),
        "search_s": _mean([search.seconds for search in outcome.searches]),
        "admissions": len(waits),
        "wait_p50_s": round(percentile(waits, 0.5), 2),
        "wait_p95_s": round(percentile(waits, 0.95), 2),
        "wait_max_s": round(percentile(waits, 1.0), 2),
        "given_up": outcome.given_up,
        "packets": outcome.packets,
        "received_p50": percentile(messages, 0.5),
        "received_p99": percentile(messages, 0.99),
        "received_max": percentile(messages, 1.0),
        "ads": outcome.ads,
        "hostile_ads": outcome.hostile_ads,
        "fullest_cache": outcome.fullest,
        "by_popularity": [band for low, high in pairwise(BANDS) if (band := _band(outcome, low, high))],
        "wait_by_rank": [[rank + 1, round(percentile(each, 0.95), 2)] for rank, each in sorted(outcome.waits.items())],
        "received_by_percent": [percentile(messages, part / 100) for part in range(101)],
        "trace": outcome.trace,
    }


def _band(outcome: Outcome, low: int, high: int) -> dict[str, object]:
    searches: list[Search] = [search for search in outcome.searches if low <= search.honest < high]
    if not searches:
        return {}
    return {
        "from": low,
        "to": high - 1,
        "searches": len(searches),
        "eclipsed": sum(not search.found_honest for search in searches),
        "asked": _mean([search.asked for search in searches]),
        "found_honest": _mean([search.found_honest for search in searches]),
        "found_hostile": _mean([search.found_hostile for search in searches]),
        "search_s": _mean([search.seconds for search in searches]),
    }


def _mean(values: list[int] | list[float]) -> float:
    return round(mean(values), 2) if values else 0.0
