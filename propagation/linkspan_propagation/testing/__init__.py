"""For tests of services that trace: a real OTLP receiver, and what a trace has to be like.

``assert_one_trace`` says what is broken in a trace that is not whole, and ``assert_picture`` what
differs from a tree that is committed as text.

Needs ``grpcio`` and ``opentelemetry-proto``, and no test framework.
"""

from linkspan_propagation.testing.markers import without_markers
from linkspan_propagation.testing.pictures import assert_picture, draw_picture
from linkspan_propagation.testing.receiver import OtlpReceiver
from linkspan_propagation.testing.spans import ExportedEvent, ExportedLink, ExportedSpan
from linkspan_propagation.testing.trees import assert_one_trace, draw_tree, traces

__all__ = [
    "ExportedEvent",
    "ExportedLink",
    "ExportedSpan",
    "OtlpReceiver",
    "assert_one_trace",
    "assert_picture",
    "draw_picture",
    "draw_tree",
    "traces",
    "without_markers",
]
