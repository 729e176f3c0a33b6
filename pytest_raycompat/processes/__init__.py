"""Starting processes that are ours, knowing them again, and ending them, also when pytest was killed."""
