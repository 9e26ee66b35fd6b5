"""What every room may import: paths, errors, the control client, cluster key, certificates, frames."""
