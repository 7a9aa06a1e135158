"""The commands of `intentd`, one a file, and what they share: input, output, options, screen."""
