"""From the API's containers to CRI's: configuration of sandboxes and containers, environment, DNS, cgroups."""
