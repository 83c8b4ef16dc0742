"""Whether maps of where a network looks can be believed: deletion, insertion, controls, randomised weights."""
