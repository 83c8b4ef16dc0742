"""Where a head is in space: from a face's five key points and the camera's calibration."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fer_perception.errors import FerError
from fer_perception.faces.face import Face, Pose
from fer_perception.faces.orientation import Quaternion, from_rotation_vector
from fer_perception.types import UInt8Image

# The key points of a face in its own frame (x to its left, y down, z backwards), in distances between the pupils:
# medians of MediaPipe's meshes over 151 faces that look into the camera. The origin is between the eyes.
SHAPE = np.array(
    [[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.53, -0.62], [-0.43, 1.09, 0.0], [0.43, 1.09, 0.0]], np.float64
)
# Adults' pupils are 63 mm apart, with a standard deviation of 3.7 mm (Dodgson, *Variation and extrema of human
# interpupillary distance*, 2004, doi:10.1117/12.529999). Children's are closer together: they seem further away.
PUPILS_M, PUPILS_DEVIATION = 0.063, 0.059
# Standard deviation of a key point: in distances between the pupils, and in pixels.
POINT_DEVIATION, PIXEL_DEVIATION = 0.06, 0.5


class Camera:
    """A calibrated pinhole camera.

    :param matrix: (3, 3), of sensor_msgs/CameraInfo's ``k``.
    :param distortion: its ``d``.
    :param model: its ``distortion_model``.
    :param width: of its images in pixels, as ``height``; 0: not known.
    :raises FerError: the camera is not calibrated, or its model of distortion is none of a pinhole.
    """

    MODELS = ("plumb_bob", "rational_polynomial", "")
    COEFFICIENTS = (0, 4, 5, 8, 12, 14)  # so many OpenCV takes

    def __init__(
        self,
        matrix: npt.ArrayLike,
        distortion: npt.ArrayLike = (),
        model: str = "plumb_bob",
        width: int = 0,
        height: int = 0,
    ) -> None:
        self.width, self.height = width, height
        self.matrix = np.asarray(matrix, np.float64).reshape(3, 3)
        self.distortion = np.asarray(distortion, np.float64).ravel()
        if not np.isfinite(self.matrix).all() or self.matrix[0, 0] <= 0 or self.matrix[1, 1] <= 0:
            raise FerError("camera_info has no focal length: calibrate the camera (camera_calibration)")
        if model not in self.MODELS:
            raise FerError(f"camera_info has the distortion model {model}: rectify the images, or use plumb_bob")
        if self.distortion.size not in self.COEFFICIENTS or not np.isfinite(self.distortion).all():
            raise FerError(
                f"camera_info has the distortion coefficients {self.distortion.tolist()}: plumb_bob has five numbers. "
                "Calibrate the camera (camera_calibration)"
            )

    def fits(self, image: UInt8Image) -> bool:
        """Whether the calibration is of images of this size."""
        return not self.width or image.shape[:2] == (self.height, self.width)

    def pose_of(self, face: Face) -> Pose | None:
        """The pose of a face's head; None where its key points are those of no head in front of the camera."""
        seen = face.keypoints.astype(np.float64)
        if not np.isfinite(seen).all():
            return None
        shape = SHAPE * PUPILS_M
        try:
            found, rotation, position = cv2.solvePnP(
                shape, seen, self.matrix, self.distortion, flags=cv2.SOLVEPNP_SQPNP
            )
        except cv2.error:  # the key points of a far face lie too close together
            return None
        if not found or position[2, 0] <= 0:
            return None
        rotation, position = cv2.solvePnPRefineLM(shape, seen, self.matrix, self.distortion, rotation, position)
        _, jacobian = cv2.projectPoints(shape, rotation, position, self.matrix, self.distortion)
        distance = float(np.linalg.norm(seen[1] - seen[0]))
        deviation = np.hypot(POINT_DEVIATION * max(distance, 1.0), PIXEL_DEVIATION)
        # Least squares: the points' deviations carried over to rotation and position.
        information = jacobian[:, :6].T @ jacobian[:, :6] / deviation**2
        try:
            covariance = np.linalg.inv(information)
        except np.linalg.LinAlgError:
            return None
        order = [3, 4, 5, 0, 1, 2]  # position first
        covariance = covariance[np.ix_(order, order)]
        # Another distance between the pupils moves the head along the line of sight.
        line = position.ravel()
        covariance[:3, :3] += PUPILS_DEVIATION**2 * np.outer(line, line)
        return Pose(line, from_rotation_vector(rotation), covariance)


# From the head's axes to those of REP 155's frames: gaze_<id> (x to the right, y down, z where the head looks) and
# face_<id> (x where it looks, y to its left, z up).
GAZE_FRAME: Quaternion = (0.0, 1.0, 0.0, 0.0)
FACE_FRAME: Quaternion = (0.5, 0.5, -0.5, 0.5)
