# Where scripts find the hpc tree, which was /proc/hpc once; see openmosix-hpc(7).
OPENMOSIX_HPC=${OPENMOSIX_HPC:-/run/openmosix/hpc}
export OPENMOSIX_HPC
