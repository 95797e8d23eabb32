"""Files from outside: expected files, resumable downloads, archives."""
