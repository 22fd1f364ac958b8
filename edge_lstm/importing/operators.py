"""The handlers of all operators: importing this module registers them."""

from edge_lstm.importing import (  # noqa: F401
    op_arithmetic,
    op_axes,
    op_compare,
    op_loop,
    op_quantize,
    op_recurrent,
    op_time,
)
