"""Facial emotion recognition for ROS 2 robots.

The modules of this folder are the core: plain Python on numpy arrays, without ROS and without torch. Images are
``uint8`` arrays of shape (height, width, 3) in RGB order unless a docstring says otherwise. The folder ``nodes``
holds the ROS 2 nodes, which convert between messages and the core.
"""
