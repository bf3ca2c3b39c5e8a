"""`./dev bench ui`: how quickly the pages of a large cluster show, search and follow."""
