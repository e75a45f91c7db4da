"""The commands of ``trimtab``, a module each; ``cli`` puts them together."""
