"""A case and its images, masks, regions and words."""
