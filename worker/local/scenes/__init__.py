"""The scenes of the demo: what its pictures show."""
