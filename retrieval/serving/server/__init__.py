"""What runs the application: uvicorn, in one or several processes, or Ray Serve, on the nodes of a cluster."""
