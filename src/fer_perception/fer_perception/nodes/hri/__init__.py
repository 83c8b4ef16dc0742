"""The suite's results under the names and types of REP 155, the ROS convention for perceiving humans."""
