"""Log-mel features and SpecAugment."""
