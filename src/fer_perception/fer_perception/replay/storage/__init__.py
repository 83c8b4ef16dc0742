"""The files of recordings: what the messages say counts, and not what is written about them."""
