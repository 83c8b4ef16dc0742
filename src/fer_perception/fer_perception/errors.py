"""The errors a user can cause and mend. Each message names the thing at fault and the remedy."""


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
