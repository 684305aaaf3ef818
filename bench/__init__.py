"""What `make bench` runs. No part of what is installed."""
