"""Sound as pictures and as HTML, for notebooks, reports and files."""
