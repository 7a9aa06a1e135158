"""The workstation's side: collect corrections, build data sets, fit, judge and promote models."""
