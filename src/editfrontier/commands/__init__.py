"""What people type, by kind."""
