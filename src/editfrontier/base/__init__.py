"""What everything stands on: errors, seeds, parameters, plug-ins, files and their fingerprints."""
