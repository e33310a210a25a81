"""Looking at builds and at what else they could be: charts, pictures of graphs, frame rate against resources."""
