"""The kinds of camera, one file each; `ports/camera.py` says which of them a setting names."""
