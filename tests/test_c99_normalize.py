"""Raw samples to input integers: C against Python's integers exactly, and against floating point within 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from c_programs import run, write
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lstm.errors import EdgeLstmError
from edge_lstm.export import c99
from edge_lstm.export.c99_normalize import Normalization, _channel, normalization
from edge_lstm.firmware_sim.toolchain import compile_host
from edge_lstm.model import QuantizedModel

Make = Callable[..., QuantizedModel]
RAW = range(-32768, 32768)
SENSORS: dict[str, tuple[int, list[float], list[float]]] = {  # bits of the inputs, scales, offsets
    "accelerometer": (8, [0.000598], [0.0]),
    "each its own": (8, [0.0006, -0.0021, 1e-5], [0.0, 1.5, -0.3]),
    "wide": (16, [0.000598], [0.0]),
    "wide and coarse": (16, [0.1, -7.7, 0.00031], [1.0, 40.0, -0.9]),
    "coarse": (8, [3.0], [0.2]),
    "nothing to round": (8, [2.0**-9], [0.0]),
}
MAIN = """
#include <stdio.h>
#include "m.h"

int main(void)
{
    int32_t r, c;
    for (r = -32768; r < 32768; r++) {
        int16_t raw[M_CHANNELS];
        %s x[M_CHANNELS];
        for (c = 0; c < M_CHANNELS; c++) raw[c] = (int16_t)r;
        m_normalize(raw, x);
        if (fwrite(x, sizeof x, 1, stdout) != 1) return 2;
    }
    return 0;
}
"""


def mirror(found: Normalization, channel: int, raw: int) -> int:
    """By Python's integers alone, and no intermediate leaves 32 bits."""
    product = raw * found.multiplier[channel]
    total = product + found.offset[channel]
    assert all(-(2**31) <= v < 2**31 for v in (found.multiplier[channel], found.offset[channel], product, total))
    return max(-found.limit, min(found.limit, total >> found.shift[channel]))


@pytest.mark.parametrize("sensor", SENSORS)
def test_every_raw_value_is_the_mirrors_in_c_and_within_1_of_floating_point(
    sensor: str, make_quantized: Make, tmp_path: Path
) -> None:
    bits, scale, offset = SENSORS[sensor]
    model = make_quantized("hard", hidden=2, inputs=3, activation_bits=bits)
    found = normalization(model, scale, offset)
    wanted = np.array([[mirror(found, c, raw) for c in range(3)] for raw in RAW], np.int32)
    raw = np.array(RAW)[:, None]
    real = model.quantize_input(raw * np.broadcast_to(scale, 3) + np.broadcast_to(offset, 3))
    assert np.abs(wanted - real).max() <= 1
    assert np.array_equal(found.apply(np.broadcast_to(raw, (len(RAW), 3))), wanted)
    texts = {**c99.sources(model, normalization=found), "main.c": MAIN % f"int{bits}_t"}
    program = compile_host(write(texts, tmp_path), tmp_path / "main", sanitize=True)
    assert run(program).stdout == wanted.astype(f"<i{bits // 8}").tobytes()


def test_without_a_scale_there_is_no_such_function(make_quantized: Make) -> None:
    model = make_quantized("hard", hidden=2, inputs=1)
    assert "normalize" not in "".join(c99.sources(model).values())
    texts = c99.sources(model, normalization=normalization(model, [0.001]))
    assert all("m_normalize(const int16_t *raw, int8_t *x)" in text for text in texts.values())
    assert " *   channel0: 0.001 * r g" in texts["m.h"]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.floats(-1e5, 1e5, allow_subnormal=False), st.floats(-1e9, 1e9, allow_subnormal=False), st.integers(-40, 0))
def test_the_shift_is_the_largest_that_leaves_32_bits_alone(gain: float, zero: float, exponent: int) -> None:
    gain *= 2.0**exponent
    try:
        multiplier, offset, shift = _channel("c", gain, zero)
    except EdgeLstmError:
        assert abs(gain) * 32767 + abs(zero) >= 2**31 - 2
        return
    ends = [raw * multiplier + add for raw in (-32768, 32767) for add in (0, offset)]
    assert all(-(2**31) <= v < 2**31 for v in ends)
    assert 0 <= shift <= 30
    if shift < 30:
        finer = [raw * round(gain * 2 ** (shift + 1)) + add for raw in (-32768, 32767) for add in (0, 2 * offset)]
        assert any(abs(v) >= 2**31 - 2**18 for v in finer)


@pytest.mark.parametrize(
    ("scale", "offset", "message"),
    [
        ([0.0], [0.0], "raw_scale is 0.0; accepted are finite numbers but 0"),
        ([float("nan")], [0.0], "raw_scale is nan; accepted are finite numbers but 0"),
        ([1.0], [float("inf")], "raw_offset is inf; accepted are finite numbers"),
        ([1.0, 2.0], [0.0], "raw_scale has 2 numbers; accepted are 1, or 3: one for each channel"),
        ([1.0], [], "raw_offset has 0 numbers; accepted are 1, or 3: one for each channel"),
        ([1.0, 1e9, 1.0], [0.0], "channel channel1: raw samples would need more than 32 bits: one raw unit is "),
        ([1.0], [0.0, 0.0, 1e12], "channel channel2: raw samples would need more than 32 bits: one raw unit is "),
        ([1.0, 1e-9, 1.0], [0.0], "channel channel1: every raw sample would be the input integer "),
        ([1.0], [0.0, 0.0, 1e6], "channel channel2: every raw sample would be the input integer 127; check "),
    ],
)
def test_a_sensor_that_can_not_be_is_refused(
    scale: list[float], offset: list[float], message: str, make_quantized: Make
) -> None:
    model = make_quantized("hard", hidden=2, inputs=3)
    with pytest.raises(EdgeLstmError) as error:
        normalization(model, scale, offset)
    assert str(error.value).startswith(message)


def test_a_channel_that_would_be_off_by_more_than_1_is_refused(make_quantized: Make) -> None:
    """Raw 0 is so far away that too little is left for the fraction of the gain."""
    model = make_quantized("hard", hidden=2, inputs=3, activation_bits=16)
    with pytest.raises(EdgeLstmError) as error:
        normalization(model, [0.1, 0.1, 0.00031], [0.0, 0.0, -9.0])
    assert str(error.value) == (
        "channel channel2: raw samples in 32 bits would be 2 input integers off, and 1 is accepted; "
        "check raw_scale and raw_offset"
    )
