"""nginx ``proxy_pass`` with keep-alive on both sides: what merely moving the bytes costs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import tools
from benchmarks.child import running
from benchmarks.peers.base import Peer
from benchmarks.peers.ports import free_ports, wait_listening

CONFIG = """\
{user}worker_processes 1;
worker_rlimit_nofile 65536;
daemon off;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log error;
events {{ worker_connections 30000; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_max_body_size 32m;
    client_body_buffer_size 1m;
    upstream mock {{
        server {upstream};
        keepalive 512;
        keepalive_timeout 1h;
        keepalive_requests 1000000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_read_timeout 10m;
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        location / {{ proxy_pass http://mock; }}
    }}
    server {{
        listen 127.0.0.1:{stream_port} backlog=8192;
        location / {{ proxy_pass http://mock; proxy_buffering off; }}
    }}
}}
"""


@contextmanager
def start(folder: Path, upstream: str) -> Iterator[Peer]:
    """Run nginx in front of ``upstream`` with everything it writes below ``folder``."""
    folder.mkdir(mode=0o755)
    port, stream_port = free_ports(2)
    user = "user nobody nogroup;\n" if os.geteuid() == 0 else ""
    places = {"prefix": folder, "upstream": urlsplit(upstream).netloc, "user": user}
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(port=port, stream_port=stream_port, **places))
    command = [tools.find("nginx"), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    with running(command, folder / "output", tools.library_path()) as child:
        wait_listening(child, port)
        yield Peer("nginx", f"http://127.0.0.1:{port}", child, stream_url=f"http://127.0.0.1:{stream_port}")
