import numpy as np
import pytest

from fer_perception.emotions.smoothing import Smoother

SAD = np.array([[1, 0]], np.float32)
HAPPY = np.array([[0, 1]], np.float32)


@pytest.mark.parametrize("fps", [5, 10, 30, 100])
def test_the_answer_to_a_step_does_not_depend_on_the_frame_rate(fps: int) -> None:
    smoother = Smoother(time_constant_s=0.4)
    smoother.update(["a"], SAD, 0.0)
    for frame in range(1, round(0.4 * fps) + 1):
        smoothed = smoother.update(["a"], HAPPY, frame / fps)
    np.testing.assert_allclose(smoothed, [[np.exp(-1), 1 - np.exp(-1)]], atol=1e-5)


def test_tracks_do_not_mix_whatever_their_order() -> None:
    smoother = Smoother(time_constant_s=10)
    smoother.update(["a", "b"], np.concatenate([SAD, HAPPY]), 0.0)
    smoothed = smoother.update(["b", "a"], np.concatenate([HAPPY, SAD]), 0.1)
    np.testing.assert_allclose(smoothed, np.concatenate([HAPPY, SAD]), atol=1e-6)


def test_the_first_image_of_a_track_is_its_own_average() -> None:
    smoother = Smoother(time_constant_s=10, max_lost_s=1)
    smoother.update(["a"], SAD, 0.0)
    np.testing.assert_array_equal(smoother.update(["new"], HAPPY, 0.1), HAPPY)
    np.testing.assert_array_equal(smoother.update(["a"], HAPPY, 5.0), HAPPY)  # forgotten
    smoother.update(["a"], SAD, 5.1)
    np.testing.assert_array_equal(smoother.update(["a"], HAPPY, 1.0), HAPPY)  # time went back


def test_it_can_be_turned_off_and_leaves_its_input() -> None:
    smoother = Smoother(time_constant_s=0)
    smoother.update(["a"], SAD, 0.0)
    row = HAPPY.copy()
    np.testing.assert_array_equal(smoother.update(["a"], row, 0.1), HAPPY)
    np.testing.assert_array_equal(row, HAPPY)
    assert smoother.update([], np.empty((0, 2), np.float32), 0.2).shape == (0, 2)
