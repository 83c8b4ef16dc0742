"""The command lines of the verbs: arguments, and what they call. Heavy imports wait until a verb runs."""
