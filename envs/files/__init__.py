"""Files of records: reading them one at a time, telling whose they are, writing built-in worlds."""
