"""Where frames come from: cameras, films, the network, pictures, the demo."""
