"""The command lines of the verbs: arguments, and what they call. Heavy imports wait until a verb runs."""

import argparse
from collections.abc import Callable

# What a verb does with its parsed arguments.
Run = Callable[[argparse.Namespace], None]
