"""The workstation side: a Hugging Face model becomes a bundle that the edge can read."""
