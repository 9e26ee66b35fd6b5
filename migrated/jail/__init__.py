"""The guest's namespaces, and the life of a body inside them."""
