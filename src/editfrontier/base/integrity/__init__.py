"""Whether results are whole: what a table says of the files beside it, and what each file says of itself."""
