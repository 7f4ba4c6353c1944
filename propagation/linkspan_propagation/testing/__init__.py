"""For tests of services that trace: a real OTLP receiver, and an assertion that a trace is whole.

Needs ``grpcio`` and ``opentelemetry-proto``, and no test framework.
"""

from linkspan_propagation.testing.receiver import OtlpReceiver
from linkspan_propagation.testing.spans import ExportedEvent, ExportedLink, ExportedSpan
from linkspan_propagation.testing.trees import assert_one_trace, draw_tree, traces

__all__ = [
    "ExportedEvent",
    "ExportedLink",
    "ExportedSpan",
    "OtlpReceiver",
    "assert_one_trace",
    "draw_tree",
    "traces",
]
