"""What has been measured of many pairs, on one page: each cell with when, on what and by which revision."""
