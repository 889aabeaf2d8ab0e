"""Server side of the bus: takes records from the broker, stores them once, and tells the device that they are safe."""
