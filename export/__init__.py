"""Everything offline that makes what the running application loads."""
