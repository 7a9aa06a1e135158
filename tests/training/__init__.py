"""Tests of the training, on rows and models made by the tests themselves."""
