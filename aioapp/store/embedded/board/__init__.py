"""The counts that all processes of a machine share, in a file that each of them maps."""
