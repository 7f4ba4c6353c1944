"""A process that sets up telemetry, records one span, and tells what it found.

``telemetry_child.py WAY``: ``plain`` shuts down, ``exit`` leaves it to the exit of the process, and
``present`` installs a provider of its own before. GIVEN, as JSON, stands for the environment.
"""

import json
import os
import sys
import time

from opentelemetry import propagate, trace

from linkspan_propagation import (
    TelemetryConfigurationError,
    inject_into_fields,
    set_up_telemetry,
)


def main() -> None:
    way = sys.argv[1]
    own: trace.TracerProvider | None = None
    if way == "present":
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

        own = TracerProvider()
        trace.set_tracer_provider(own)
    try:
        given = json.loads(os.environ.get("GIVEN", "null"))
        telemetry = set_up_telemetry("ours", service_version="1.2.3", environ=given or os.environ)
    except TelemetryConfigurationError as error:
        print(json.dumps({"error": str(error)}))
        return
    with telemetry.tracer_provider.get_tracer("child").start_as_current_span("the span"):
        fields = inject_into_fields()
    found: dict[str, object] = {
        "installed": telemetry.installed,
        "own": telemetry.tracer_provider is own,
        "global": trace.get_tracer_provider() is telemetry.tracer_provider,
        "fields": sorted(fields),
        "textmap": sorted(propagate.get_global_textmap().fields),
        "modules": sorted(
            name
            for name in sys.modules
            if name in {"opentelemetry.sdk.trace", "requests"}
            or name.startswith("opentelemetry.exporter")
        ),
    }
    if way != "exit":
        before = time.monotonic()
        found["shut_down"] = telemetry.shut_down(float(os.environ.get("SHUT_DOWN_SECONDS", "30")))
        found["seconds"] = time.monotonic() - before
        found["again"] = telemetry.shut_down(0)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
