"""One file per group of commands. Imported only when one of them runs."""
