"""First sightings: for the other modules of the core only."""
