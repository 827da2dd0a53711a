"""One module for each command of `hotseat`; its function has the module's name."""
