"""Quality of service of the suite's topics."""

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

# Newest image wins: nothing is sent again, nothing waits.
IMAGE_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)

# Small typed results.
RESULT_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE)
