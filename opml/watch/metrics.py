"""What a watcher tells Prometheus: counted from its events, and measured at each look.

`METRICS` says what each is; docs/watch.md has the same table.
"""

import time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

if TYPE_CHECKING:
    from opml.watch.watcher import Watcher

PREFIX: Final = "opml_watch"
_BUCKETS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)

# name: (kind, help, labels). A counter's name on the wire ends in `_total`.
METRICS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "claims_seen": ("counter", "Claims met that could be challenged", ()),
    "claims_checked": ("counter", "Claims re-run", ()),
    "claims_wrong": ("counter", "Claims re-run and found wrong", ()),
    "claims_skipped": ("counter", "Claims not re-run, by reason", ("reason",)),
    "claims_missed": ("counter", "Claims whose window closed before they were re-run", ()),
    "claims_waiting": ("gauge", "Claims that wait to be re-run", ()),
    "claims_standing": ("gauge", "Wrong claims that have not been rejected", ()),
    "games_open": ("gauge", "Games that we play, by role", ("role",)),
    "games_won": ("counter", "Games won", ()),
    "games_lost": ("counter", "Games lost: never by an honest player that is awake", ()),
    "transactions_sent": ("counter", "Transactions sent, by kind", ("kind",)),
    "transactions_mined": ("counter", "Transactions mined, by kind", ("kind",)),
    "transactions_refused": (
        "counter",
        "Transactions that the contract refused before they were sent, by kind",
        ("kind",),
    ),
    "transactions_failed": ("counter", "Transactions sent that failed or vanished, by kind", ("kind",)),
    "transactions_replaced": ("counter", "Transactions sent again with higher fees", ()),
    "gas": ("counter", "Gas used", ()),
    "gas_wei": ("counter", "Wei paid for gas", ()),
    "errors": ("counter", "Events of level error, by event", ("event",)),
    "reorgs": ("counter", "Times that the chain took blocks back", ()),
    "rerun_seconds": ("histogram", "Seconds to re-run a claim", ()),
    "trace_seconds": ("histogram", "Seconds to re-run and hash a computation for its games", ()),
    "move_seconds": ("histogram", "Seconds to decide on a move", ()),
    "trace_bytes": ("gauge", "Bytes of memory that traces take, about", ()),
    "chain_head": ("gauge", "Number of the newest block seen", ()),
    "chain_lag_seconds": ("gauge", "Age of the newest block", ()),
    "last_success_timestamp_seconds": ("gauge", "When the chain was last looked at without an error", ()),
    "balance_wei": ("gauge", "Balance of the account", ()),
    "bonded_wei": ("gauge", "Wei bonded in games as a challenger", ()),
    "lost_wei": ("gauge", "Wei of bonds lost as a challenger, since the contract's beginning", ()),
}
BALANCE_SECONDS: Final = 30.0


class Metrics:
    """The figures of one watcher, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when a counter began says nothing that its scrapes do not
        self.registry = CollectorRegistry()
        kinds: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        self._metrics: dict[str, Any] = {}
        for name, (kind, text, labels) in METRICS.items():
            options = {"buckets": _BUCKETS} if kind == "histogram" else {}
            self._metrics[name] = kinds[kind](f"{PREFIX}_{name}", text, labels, registry=self.registry, **options)
        for role in ("prover", "challenger"):
            self._metrics["games_open"].labels(role)
        self._replaced = 0
        self._balance_read = 0.0

    def serve(self, host: str, port: int) -> int:
        """Answers scrapes from now on, on a thread; the port, which for 0 is any free one. Raises OSError."""
        server, _ = start_http_server(port, host, self.registry)
        return int(server.server_port)

    def __call__(self, event: str, /, level: str = "info", **fields: Any) -> None:
        """Takes an event."""
        metric = self._metrics
        match event:
            case "claim":
                metric["claims_seen"].inc()
            case "claim-right" | "claim-wrong":
                metric["claims_checked"].inc()
                metric["rerun_seconds"].observe(fields["seconds"])
                metric["claims_wrong"].inc(event == "claim-wrong")
            case "claim-skipped":
                metric["claims_skipped"].labels(fields["reason"]).inc()
            case "claim-missed":
                metric["claims_missed"].inc()
            case "trace":
                metric["trace_seconds"].observe(fields["seconds"])
            case "game-won" | "game-lost":
                metric[event.replace("game-", "games_")].inc()
            case "sent" | "refused" | "failed":
                metric[f"transactions_{event}"].labels(fields["kind"]).inc()
                if event == "sent" and "thought" in fields:
                    metric["move_seconds"].observe(fields["thought"])
            case "mined":
                metric["transactions_mined"].labels(fields["kind"]).inc()
                metric["gas"].inc(fields["gas"])
                metric["gas_wei"].inc(fields["cost_wei"])
            case "reorg":
                metric["reorgs"].inc()
        if level == "error":
            metric["errors"].labels(event).inc()

    def measure(self, watcher: "Watcher") -> None:
        """Takes the watcher's state, after a look."""
        values = {
            "claims_waiting": watcher.unchecked,
            "claims_standing": len(watcher.standing),
            "trace_bytes": watcher.traces.nbytes,
            "chain_head": watcher.follower.head,
            "chain_lag_seconds": max(time.time() - watcher.follower.timestamp, 0.0),
            "last_success_timestamp_seconds": time.time(),
            "bonded_wei": watcher.bonded,
            "lost_wei": watcher.lost,
        }
        if time.monotonic() - self._balance_read > BALANCE_SECONDS:
            self._balance_read = time.monotonic()
            values["balance_wei"] = watcher.client.chain.balance(watcher.address)
        for name, value in values.items():
            self._metrics[name].set(value)
        for role in ("prover", "challenger"):
            count = sum(getattr(game, role) == watcher.address for game in watcher.board.games())
            self._metrics["games_open"].labels(role).set(count)
        replaced = watcher.errands.replaced
        self._metrics["transactions_replaced"].inc(replaced - self._replaced)
        self._replaced = replaced
