"""Price of the modes in which decoders are reused."""
