"""The state of things as Prometheus reads it (text exposition format 0.0.4).

Made from the documents of `status()`, so that a metric never says something else than `waypost status`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from offchain.trust.freshness import Freshness

CONTENT_TYPE: Final = "text/plain; version=0.0.4"

_TRUST: Final = {
    "provenBlock": ("proven_block", "gauge", "Block up to which the registry's events are proven."),
    "provenAge": ("proof_age_seconds", "gauge", "Age of the proof."),
    "head": ("head_block", "gauge", "Newest block taken in."),
    "final": ("final_block", "gauge", "Newest final block taken in."),
    "registryVersion": ("registry_events", "gauge", "Events of the registry so far."),
    "listed": ("nodes_listed", "gauge", "Nodes in the registry, trusted or not."),
    "providers": ("providers", "gauge", "Providers in the registry."),
    "quorum": ("quorum", "gauge", "Endpoints that must agree on a final block."),
    "reorgs": ("reorganisations_total", "counter", "Reorganisations seen."),
    "deepestReorg": ("deepest_reorganisation_blocks", "gauge", "Blocks that the deepest one replaced."),
    "proofs": ("proofs_total", "counter", "Proofs of the registry's events that held."),
    "logs": ("logs_total", "counter", "Logs taken in."),
    "lies": ("contradictions_total", "counter", "Times an endpoint contradicted a proof or the others."),
    "sessions": ("sessions_total", "counter", "Times an endpoint was begun with."),
    "subscribed": ("subscribed", "gauge", "Whether new heads come by WebSocket."),
}
"""Field of the status of trust: name, type and meaning of the metric."""

_ENDPOINT: Final = {
    "demoted": ("endpoint_demoted", "gauge", "Whether the endpoint is avoided now."),
    "latency": ("endpoint_latency_seconds", "gauge", "Time an answer takes, smoothed."),
    "answers": ("endpoint_answers_total", "counter", "Answers of the endpoint."),
    "lies": ("endpoint_contradictions_total", "counter", "Times the endpoint was caught."),
}

Sample = tuple[Mapping[str, str], float]


def exposition(trust: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The metrics: of the status of trust, and counters by part ("pool": {"ready": 3}) of whatever else runs."""
    lines: list[str] = []
    state = str(trust["state"])
    _metric(
        lines,
        "state",
        "gauge",
        "What is known of the registry: 1 for the state that holds.",
        [({"state": each.value}, float(each.value == state)) for each in Freshness],
    )
    trusted = [({"kind": str(kind)}, float(count)) for kind, count in trust.get("trusted", {}).items()]
    _metric(lines, "nodes_trusted", "gauge", "Nodes trusted now.", trusted)
    for field, (name, kind, meaning) in _TRUST.items():
        if trust.get(field) is not None:
            _metric(lines, name, kind, meaning, [({}, float(trust[field]))])
    endpoints = list(_endpoints(trust))
    for field, (name, kind, meaning) in _ENDPOINT.items():
        _metric(lines, name, kind, meaning, [({"endpoint": label}, float(each[field])) for label, each in endpoints])
    agreeing = set(trust.get("agreeing", ()))
    _metric(
        lines,
        "endpoint_agrees",
        "gauge",
        "Whether the endpoint agreed on the last final block.",
        [({"endpoint": label}, float(each["name"] in agreeing)) for label, each in endpoints],
    )
    return "\n".join(lines) + "\n" + counters(others or {})


def counters(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The metrics of counters by part: waypost_pool{what="ready"} 3."""
    lines: list[str] = []
    for part, counts in parts.items():
        samples = [
            ({"what": str(what)}, float(count)) for what, count in counts.items() if isinstance(count, (int, float))
        ]
        _metric(lines, part, "gauge", f"Counters of the {part}.", samples)
    return "".join(f"{line}\n" for line in lines)


def _endpoints(trust: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each endpoint under a label that no other has."""
    for number, each in enumerate(sorted(trust.get("endpoints", ()), key=lambda each: str(each["name"]))):
        names = [other["name"] for other in trust["endpoints"]]
        yield each["name"] if names.count(each["name"]) == 1 else f"{each['name']} #{number}", each


def _metric(lines: list[str], name: str, kind: str, meaning: str, samples: list[tuple[dict[str, str], float]]) -> None:
    if not samples:
        return
    lines.append(f"# HELP waypost_{name} {meaning}")
    lines.append(f"# TYPE waypost_{name} {kind}")
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"waypost_{name}{{{shown}}} {value:.12g}" if shown else f"waypost_{name} {value:.12g}")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
