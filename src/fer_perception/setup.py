"""Package description for colcon (ament_python)."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "fer_perception"
EXECUTABLES = (
    "fer_node",
    "fer_nodes",
    "face_node",
    "emotion_node",
    "source_node",
    "bag_player",
    "overlay_node",
    "view_node",
    "hri_node",
    "hri_expression_node",
    "demo",
    "benchmark",
    "replay",
    "live_replay",
    "make_bag",
    "build_engine",
    "audit",
    "fetch_face_model",
)
# Those of requirements/runtime.txt without the tools that build, of replay.txt and of view.txt; a test compares them.
REQUIREMENTS = [
    "mcap",
    "mediapipe>=1.0,<2",  # brings OpenCV
    "numpy",
    "onnxruntime>=1.18",
    "pillow",
    "platformdirs",
    "psutil",
    "pydantic>=2,<3",
    "pyyaml",
    "rosbags>=0.11.7",
    "rosbags-image",
    "scikit-image",
    "scipy",
    "tqdm",
    "zstandard",
]
REPLAY = ["dask[distributed]", "jinja2", "matplotlib", "pandas", "plotly", "pyarrow", "pympi-ling", "scikit-learn"]
VIEW = ["rerun-sdk>=0.41,<1"]


def tree(folder: str) -> list[tuple[str, list[str]]]:
    """The files below a folder as data files of share/fer_perception, folder by folder."""
    files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    if not files:
        raise FileNotFoundError(f"{NAME}: {Path(folder).absolute()} holds no files; the package is not complete")
    parents = sorted({path.parent for path in files})
    return [(f"share/{NAME}/{parent}", [str(path) for path in files if path.parent == parent]) for parent in parents]


setup(
    name=NAME,
    version="0.3.0",
    packages=find_packages(exclude=["test"]),
    package_data={f"{NAME}.replay.report": ["*.html.j2"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *tree("config"),
        *tree("launch"),
        *tree("models"),
        *tree("security"),
    ],
    install_requires=REQUIREMENTS,
    extras_require={"replay": REPLAY, "view": VIEW},
    python_requires=">=3.10",
    zip_safe=False,
    maintainer="FER suite maintainers",
    maintainer_email="fer-suite@users.noreply.github.com",
    description="Facial emotion recognition on camera images: faces, emotions and latencies as typed messages.",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"{name} = {NAME}.__main__:executable" for name in EXECUTABLES]},
)
