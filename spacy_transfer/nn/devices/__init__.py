"""Everything that depends on the machine: precision, kernels, shapes, copies between host and device."""
