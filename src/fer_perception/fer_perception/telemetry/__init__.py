"""Time, power, energy and memory of the running process."""
