"""`edge_lstm.data.averaging`."""

import numpy as np
import pytest

from edge_lstm.data import Dataset, averaged
from edge_lstm.errors import EdgeLstmError


def recordings(steps=10, **parts):
    x = np.arange(2 * steps * 1, dtype=np.float32).reshape(2, steps, 1)
    given = {"y": np.array([0, 1]), "classes": ("a", "b"), "rate_hz": 50.0} | parts
    return Dataset(name="counted", x=x, channels=("count",), units=("",), **given)


def test_each_sample_is_the_mean_of_several_and_a_rest_is_left_out():
    found = averaged(recordings(), 4)
    assert found.x[..., 0].tolist() == [[1.5, 5.5], [11.5, 15.5]]
    assert found.rate_hz == 12.5
    assert found.y.tolist() == [0, 1]


def test_lengths_count_whole_means():
    assert averaged(recordings(lengths=np.array([10, 7])), 3).lengths.tolist() == [3, 2]


def test_one_sample_is_the_data_set_itself():
    data = recordings(rate_hz=None)
    assert averaged(data, 1) is data
    assert averaged(data, 2).rate_hz is None


@pytest.mark.parametrize(
    ("data", "every", "said"),
    [
        (recordings(), 0, "counted: the mean of 0 samples; accepted are 1 to 10"),
        (recordings(), 11, "counted: the mean of 11 samples; accepted are 1 to 10"),
        (recordings(lengths=np.array([10, 3])), 4, "counted: the mean of 4 samples; the shortest window has 3"),
        (
            recordings(y=np.zeros((2, 10), int)),
            2,
            "counted: y has targets for 10 steps, which can't be averaged",
        ),
    ],
)
def test_what_cannot_be_averaged_is_refused(data, every, said):
    with pytest.raises(EdgeLstmError) as caught:
        averaged(data, every)
    assert str(caught.value) == said
