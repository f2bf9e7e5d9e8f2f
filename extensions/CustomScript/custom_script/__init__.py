"""CustomScript: an extension handler that runs a script or a command once for each sequence number."""
