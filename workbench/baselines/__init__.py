"""The published rivals and the trivial floors, one file each, under the same contract as the methods."""
