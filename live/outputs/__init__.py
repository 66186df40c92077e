"""Where finished frames go: the window, a virtual camera, video files, pictures."""
