"""Simulation of the deployed autoscaling policies under three days of traffic."""
