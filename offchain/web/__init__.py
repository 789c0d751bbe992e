"""The local HTTP interface of `waypost serve`: for apps in other languages, and for the screen."""
