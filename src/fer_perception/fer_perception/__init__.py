"""Facial emotion recognition for ROS 2 robots.

The modules of this folder are the core: plain Python on numpy arrays, without ROS and without torch. Images are
``uint8`` arrays of shape (height, width, 3) in RGB order unless a docstring says otherwise. The folder ``nodes``
holds the ROS 2 nodes, which convert between messages and the core.
"""

import os

# ONNX Runtime's wheels report to Microsoft, from their import on. Only this switches all of it off, and only before; a
# value that is set stays. Whatever imports ONNX Runtime imports this package first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
