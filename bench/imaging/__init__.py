"""CPU time and fidelity of processing one image, compared with other imaging libraries."""
