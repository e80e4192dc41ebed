"""What scatters and how: form factors, atoms as Gaussians, and the grid they are drawn on."""
