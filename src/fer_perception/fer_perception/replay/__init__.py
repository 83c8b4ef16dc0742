"""Evaluation on rosbags, without ROS: from a recording to tables, metrics and a report.

``bags`` reads, ``offline`` runs the pipeline, ``recorded`` takes the predictions that a live one made, ``tables`` holds
them, whoever made them, ``ground_truth`` says what was shown, ``evaluation`` and ``comparison`` measure, ``report``
shows. ``make_bag`` makes bags.
"""

from importlib.util import find_spec

from fer_perception.errors import FerError

# What evaluation needs; the nodes, which read and write bags too, do without.
NEEDED = ("jinja2", "pandas", "plotly", "pyarrow", "sklearn")


def require_packages() -> None:
    """Check that what evaluation needs is installed.

    :raises FerError: it is not.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise FerError(f"{', '.join(missing)} missing: pip install -r requirements/replay.txt")
