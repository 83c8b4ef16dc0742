"""How good a network is: accuracy, calibration, robustness, fairness, attention."""
