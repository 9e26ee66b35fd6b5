"""The collector: samples of all nodes in one embedded database, and the program that takes them."""
