"""Read by gunicorn from its working directory, which bin/run makes the release's own src/. No chdir or pythonpath here: they would unpin it."""

import os

wsgi_app = "shop.wsgi"
bind = os.environ.get("BIND", "127.0.0.1:8000")  # systemd's socket wins over it
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
accesslog = "-"
control_socket_disable = True
forwarded_allow_ips = "127.0.0.1"
max_requests = 10_000
max_requests_jitter = 1_000
