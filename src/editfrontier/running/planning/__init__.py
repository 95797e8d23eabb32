"""What a run is going to take, before anything is spent: jobs, GPU hours, disk, downloads, and what is missing."""
