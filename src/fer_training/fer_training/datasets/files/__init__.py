"""What datasets have in common as files: tables, trees of folders, YOLO's labels, and what of them is not used."""
