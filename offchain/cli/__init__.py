"""The command line: `waypost`. Configuration is read here (`settings`) and nowhere else."""
