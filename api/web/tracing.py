"""OpenTelemetry traces, off until an address to send them to is configured (`CREDITLAB_OTLP_ENDPOINT`).

A span carries the route's template. What the instrumentation would say of addresses, query strings and peers is
overwritten, for an address may name an enterprise.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

# what of a span may leave: everything else is dropped at the door
_ALLOWED = frozenset(
    {"http.method", "http.request.method", "http.route", "http.status_code", "http.response.status_code", "request.id"}
)


class _Discreet(SpanExporter):
    """Hands on spans with allowed attributes only and without events, whose texts may quote data."""

    def __init__(self, to: SpanExporter) -> None:
        self._to = to

    def export(self, spans: Any) -> Any:
        return self._to.export([_stripped(span) for span in spans])

    def shutdown(self) -> None:
        self._to.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._to.force_flush(timeout_millis)


def _stripped(span: ReadableSpan) -> ReadableSpan:
    attributes = {name: value for name, value in (span.attributes or {}).items() if name in _ALLOWED}
    route = attributes.get("http.route")
    method = attributes.get("http.request.method") or attributes.get("http.method")
    return ReadableSpan(
        name=f"{method} {route}" if route and method else "request",
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=span.status.__class__(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
    )


def install(app: FastAPI, exporter: SpanExporter) -> TracerProvider:
    """Traces every request of `app` to `exporter`; shut the provider down with the app."""
    provider = TracerProvider(resource=Resource.create({"service.name": "creditlab-control"}))
    provider.add_span_processor(BatchSpanProcessor(_Discreet(exporter)))
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=provider, excluded_urls="healthz,readyz,metrics", exclude_spans=["receive", "send"]
    )
    return provider


def otlp(endpoint: str) -> SpanExporter:
    return OTLPSpanExporter(endpoint=endpoint)
