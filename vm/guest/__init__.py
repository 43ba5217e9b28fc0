"""Building the guest: numba kernels to a RISC-V image (softfloat, main, build, link)."""
