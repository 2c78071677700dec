"""What depends on the machine: precision, kernels, shapes, copies between host and device."""
