"""The pod loop: what runs (`state`), what to do about it (`plan`), and who does it (`worker`)."""
