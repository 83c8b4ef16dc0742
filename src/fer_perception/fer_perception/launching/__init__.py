"""What the launch files start. All but ``actions`` is plain Python, without ``launch`` and ``rclpy``."""
