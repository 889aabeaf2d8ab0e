"""What the documents claim, measured: ours beside the comparison in one run, as medians and ratios."""
