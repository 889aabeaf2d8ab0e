"""Server side of the bus: takes records from the broker, stores each once, tells the device that it is safe."""
