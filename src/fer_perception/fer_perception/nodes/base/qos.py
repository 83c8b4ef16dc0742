"""Quality of service of the suite's topics."""

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

# Published images. Reliable serves reliable and best-effort subscriptions alike: RViz and most tools ask for reliable.
# With a depth of one, the newest image wins, and a slow subscription holds nobody up.
IMAGE_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE)

# Small typed results.
RESULT_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE)
