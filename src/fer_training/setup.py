"""Package description for colcon (ament_python)."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "fer_training"
VERBS = (
    *("train", "soft_targets", "adapt", "interpolate", "prune", "export", "quantize"),
    *("calibrate", "evaluate", "stress", "fairness", "explain", "identify", "group", "quality", "sequences", "report"),
)
# What it imports of requirements/runtime.txt, and all of requirements/training.txt; a test compares them.
# fer_perception comes with the workspace and not from PyPI, so it is in package.xml alone.
REQUIREMENTS = [
    "mediapipe>=1.0,<2",  # brings OpenCV
    "numpy",
    "onnxruntime>=1.18",
    "pillow",
    "pydantic>=2,<3",
    "pyyaml",
    "scipy",
    "tqdm",
    "torch==2.13.0",
    "captum",
    "fairlearn",
    "imagehash",
    "kornia",
    "matplotlib",
    "omegaconf",
    "onnx",
    "safetensors",
    "scikit-learn",
    "tensorboard",
    "torch-pruning>=1.6,<2",
]

setup(
    name=NAME,
    version="0.3.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/configs", [str(path) for path in sorted(Path("configs").glob("*.yaml"))]),
    ],
    install_requires=REQUIREMENTS,
    python_requires=">=3.10",
    zip_safe=False,
    maintainer="FER suite maintainers",
    maintainer_email="fer-suite@users.noreply.github.com",
    description="Training, evaluation and export of the emotion networks that fer_perception serves.",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"{verb} = {NAME}.__main__:executable" for verb in VERBS]},
)
