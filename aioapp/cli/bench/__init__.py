"""`aioapp bench`: how fast this server, or one that runs elsewhere, is on your own machine."""
