"""The errors a user can cause and mend. Each message names the thing at fault and the remedy."""

# The distribution on PyPI that brings a module, where it has another name.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-contrib-python",
    "pympi": "pympi-ling",
    "rerun": "rerun-sdk",
    "rerun_cli": "rerun-sdk",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def missing_package(error: ModuleNotFoundError) -> str:
    """One line for a module that is not installed: what it is, and how to get it."""
    module = (error.name or str(error)).partition(".")[0]
    if module.endswith("_msgs") or module in ("rclpy", "ament_index_python"):
        return f"{module} is not found: source your ROS distribution's and this workspace's setup files"
    distribution = DISTRIBUTIONS.get(module, module)
    return (
        f"the Python package {distribution} is not installed: pip install {distribution}, in a virtual environment "
        "(requirements/ lists all of them, the README says how)"
    )


class FerError(Exception):
    """Base of all errors that a user can mend; command lines print it without a traceback."""


class BundleError(FerError):
    """A model bundle is missing, incomplete, corrupt or of an unknown schema."""


class FaceModelError(FerError):
    """The MediaPipe face model is missing, corrupt or not the expected one."""


class ImageError(FerError):
    """An image (array or message) has a shape, encoding or size that cannot be used."""


class SourceError(FerError):
    """A camera, video, image or folder cannot be opened or read."""


class EngineError(FerError):
    """An inference engine cannot be had or run on this machine."""


class BagError(FerError):
    """A rosbag is missing, damaged, or holds nothing that can be used."""


class LabelsError(FerError):
    """Ground truth cannot be read or does not fit the bags."""
