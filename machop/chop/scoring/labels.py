"""The targets that mean "no label"."""

UNLABELLED = -100
"""The target of a sample, token or pixel that has no label: the `ignore_index` of torch's cross entropy."""

LABELS_OF_BYTES = (255, 65535)
"""The value that means "no label" in unsigned targets, by convention."""
