"""Pictures and HTML of sound, for notebooks, reports and files."""
