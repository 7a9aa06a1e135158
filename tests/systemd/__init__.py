"""The service as it is shipped: units, confinement, activation, installation."""
