"""What people do around the graph: set up, check the set-up, serve the UI, promote a teacher."""
