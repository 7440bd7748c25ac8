"""The endpoints for operators: /metrics over all processes, /healthz (alive), /readyz (can keep its promises)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mailguard import __version__
from mailguard.core.errors import UnavailableError
from mailguard.ops.health import Health
from mailguard.web.state import RelayState, StateCollector, StateReader

NO_STORE = {"Cache-Control": "no-store"}


class Endpoints:
    """What the routes answer with.

    `shared` is the directory of `ops.metrics_files.share`; without one (a single process, tests) `registry` is shown.
    `state_timeout` is in seconds: a scrape shows the counters even when the database does not answer.
    """

    def __init__(
        self,
        *,
        health: Health,
        read_state: StateReader,
        shared: Path | None = None,
        registry: CollectorRegistry | None = None,
        state_timeout: float = 5.0,
    ) -> None:
        if (shared is None) == (registry is None):
            raise ValueError("give either the shared directory or a registry")
        self._health = health
        self._read_state = read_state
        self._shared = shared
        self._registry = registry
        self._state_timeout = state_timeout

    async def metrics(self, request: Request) -> Response:
        """All metrics, in the format that the scraper asks for."""
        state = await self._state()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # Reading every process's files takes milliseconds; the loop also watches the workers.
        body = await asyncio.to_thread(lambda: encode(self._collect(state)))
        return Response(body, headers=NO_STORE | {"Content-Type": content_type})

    async def healthz(self, _request: Request) -> Response:
        """The process is alive. Asks nothing else, so that a database outage does not make anybody restart the relay."""
        return JSONResponse({"status": "ok", "version": __version__}, headers=NO_STORE)

    async def readyz(self, _request: Request) -> Response:
        """Every condition by name; 503 when one does not hold."""
        readiness = await self._health.check()
        body = {
            "status": "ready" if readiness.ready else "unready",
            "checks": {
                condition.name: {"ok": condition.ok, "detail": condition.detail} for condition in readiness.conditions
            },
        }
        return JSONResponse(body, status_code=200 if readiness.ready else 503, headers=NO_STORE)

    async def index(self, _request: Request) -> Response:
        """What there is."""
        return PlainTextResponse(f"MailGuard {__version__}\n/metrics\n/healthz\n/readyz\n")

    async def _state(self) -> RelayState | None:
        try:
            async with asyncio.timeout(self._state_timeout):
                return await self._read_state()
        except (UnavailableError, OSError):  # TimeoutError is an OSError
            return None

    def _collect(self, state: RelayState | None) -> CollectorRegistry:
        registry = CollectorRegistry()
        if self._shared is not None:
            MultiProcessCollector(registry, path=str(self._shared))  # type: ignore[no-untyped-call]
        elif self._registry is not None:
            registry.register(self._registry)
        registry.register(StateCollector(state))
        return registry


def make_app(endpoints: Endpoints) -> Starlette:
    """The ASGI application."""
    return Starlette(
        routes=[
            Route("/metrics", endpoints.metrics),
            Route("/healthz", endpoints.healthz),
            Route("/readyz", endpoints.readyz),
            Route("/", endpoints.index),
        ]
    )
