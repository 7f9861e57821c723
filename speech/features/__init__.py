"""Log-mel features and the masks of SpecAugment."""
