"""Build half: from a recipe to one release tarball. Imports nothing, so that ``builder.install_release`` stays free of it."""
