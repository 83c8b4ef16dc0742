import cv2
import numpy as np
import pytest

from fer_perception.preprocessing.alignment import AlignmentTemplate, align, similarity_transform

TEMPLATE = AlignmentTemplate(right_eye=(0.3, 0.4), left_eye=(0.7, 0.4), mouth=(0.5, 0.8))


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("angle", [0, 30, -75, 180])
def test_a_true_similarity_is_recovered(angle: float) -> None:
    source = np.array([[10.0, 20.0], [50.0, 22.0], [31.0, 60.0]])
    truth = cv2.getRotationMatrix2D((7, 9), angle, 1.7)
    np.testing.assert_allclose(similarity_transform(source, apply(truth, source)), truth, atol=1e-9)


def test_least_squares_beats_every_small_change() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    best = similarity_transform(source, target)
    error = np.square(apply(best, source) - target).sum()
    for change in np.eye(4) * 1e-3:
        for sign in (1, -1):
            a, b, x, y = sign * change
            other = best + np.array([[a, -b, x], [b, a, y]])
            assert np.square(apply(other, source) - target).sum() >= error


def test_coinciding_points_give_a_shift() -> None:
    matrix = similarity_transform([[5, 5]] * 3, [[1, 2], [3, 2], [2, 5]])
    np.testing.assert_allclose(matrix, [[1, 0, -3], [0, 1, -2]])


@pytest.mark.parametrize(("eye_distance", "angle"), [(20, 0), (60, 25), (300, -40)])
def test_marks_land_on_the_template(eye_distance: float, angle: float) -> None:
    image = np.zeros((800, 800, 3), np.uint8)
    upright = np.array([[-0.5, 0], [0.5, 0], [0, 1.0]]) * eye_distance
    points = apply(cv2.getRotationMatrix2D((0, 0), angle, 1.0), upright) + 400
    for index, point in enumerate(points):
        center = (round(float(point[0])), round(float(point[1])))
        cv2.circle(image, center, max(2, round(eye_distance * 0.06)), [255 * (i == index) for i in range(3)], -1)
    crop = align(image, points, TEMPLATE, 64, 64)
    assert crop.shape == (64, 64, 3)
    for channel, expected in enumerate(TEMPLATE.points(64, 64)):
        weights = crop[..., channel].astype(float)
        ys, xs = np.mgrid[:64, :64]
        center = np.array([(xs * weights).sum(), (ys * weights).sum()]) / weights.sum()
        assert np.abs(center - expected).max() < 1.0


def test_large_faces_are_shrunk_without_aliasing() -> None:
    checkerboard = (np.indices((800, 800)).sum(axis=0) % 2 * 255).astype(np.uint8)
    points = np.array([[240.0, 320.0], [560.0, 320.0], [400.0, 640.0]])
    crop = align(checkerboard, points, TEMPLATE, 48, 48)
    assert crop.std() < 30  # plain bilinear sampling keeps some 100


def test_outside_the_image_its_border_repeats() -> None:
    crop = align(np.full((50, 50), 200, np.uint8), [[-20, 10], [20, 10], [0, 50]], TEMPLATE, 48, 48)
    assert (crop == 200).all()


@pytest.mark.parametrize("seed", range(12))
def test_the_part_that_is_made_grey_is_all_that_the_crop_shows(portrait: np.ndarray, seed: int) -> None:
    """Faces of all sizes and turns, also beyond the border, against a transform of the whole grey image."""
    rng = np.random.default_rng(seed)
    upright = np.array([[-0.5, 0], [0.5, 0], [0, 1.0]]) * rng.uniform(3, 300)
    turn = cv2.getRotationMatrix2D((0, 0), rng.uniform(-180, 180), 1.0)
    points = apply(turn, upright) + rng.uniform(-100, 600, 2)
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    matrix = similarity_transform(points, TEMPLATE.points(48, 48))
    factor = int(np.clip(round(1 / np.hypot(*matrix[:, 0])), 1, 4))
    matrix *= factor
    matrix[:, 2] += (factor - 1) / 2
    whole = cv2.warpAffine(grey, matrix, (48 * factor,) * 2, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    expected = cv2.resize(whole, (48, 48), interpolation=cv2.INTER_AREA)
    for image, to_grey in ((portrait, True), (grey, False)):
        found = align(image, points, TEMPLATE, 48, 48, to_grey)
        assert np.abs(found.astype(int) - expected).max() <= 2
        assert (found != expected).mean() < 0.05
