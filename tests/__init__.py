"""Tests: real cameras, files and windows where there are any, no stand-ins for libraries."""
