"""Ways to compute full attention: the same mathematics, for different machines and meshes."""
