"""Container logs as the runtime writes them: reading, following, rotating, and the links that log agents look for."""
