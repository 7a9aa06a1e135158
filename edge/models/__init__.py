"""Model bundles on this machine: taken in strictly, tried in a child process, kept by digest.

It switches no running model; that is the slot's business.
"""
