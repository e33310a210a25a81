"""What a deployment package takes from a build: settings, the simulated device's simulator, the golden server."""
