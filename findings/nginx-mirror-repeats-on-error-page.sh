#!/usr/bin/env bash
# nginx 1.22.1: one POST is mirrored twice when error_page hands it on to a named location.
#
# Guess: `mirror` sends one copy of each request that a client makes. An `error_page 502 = @fallback` after a refused
# connection changes who answers the client, not how often the request is copied.
#
# Seen: the copy is made in the precontent phase, and a jump to a named location runs that phase again. A POST that meets
# one dead back end reaches the mirror twice, byte for byte; one more hop makes it three. A shadow system that counts
# orders counts too many, and only while the real one is in trouble. `mirror off;` in the named location avoids it.
# A subrequest of auth_request is repeated in the same way.
set -euo pipefail
for tool in apt-get dpkg python3 curl; do command -v $tool >/dev/null || { echo "needs $tool"; exit 77; }; done
dir=$(mktemp -d); pids=()
cleanup() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT
chmod 755 "$dir" # the workers of a root's nginx are another user
cd "$dir"
(apt-get download nginx=1.22.1-9+deb12u7 && dpkg -x nginx_*.deb tree) >apt.log 2>&1 || { tail -n 3 apt.log; echo "nginx 1.22.1-9+deb12u7 can't be had"; exit 77; }
nginx=$dir/tree/usr/sbin/nginx
"$nginx" -v

# counter.py answers each POST and counts it; GET says the count. It prints its port.
cat >counter.py <<'PY'
import http.server
posts = 0
class Counter(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def answer(self, text):
        self.send_response(200); self.send_header("Content-Length", str(len(text))); self.end_headers(); self.wfile.write(text.encode())
    def do_POST(self):
        global posts
        self.rfile.read(int(self.headers.get("Content-Length", 0))); posts += 1; self.answer("taken")
    def do_GET(self): self.answer(str(posts))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counter)
print(server.server_port, flush=True)
server.serve_forever()
PY
port_of() { for _ in $(seq 100); do [ -s "$1" ] && { cat "$1"; return; }; sleep 0.1; done; echo "no back end" >&2; exit 77; }
python3 counter.py >fallback.port & pids+=($!)
python3 counter.py >mirror.port & pids+=($!)
fallback=$(port_of fallback.port) mirror=$(port_of mirror.port)
# Two ports that nobody listens on now: nginx's own, and that of the dead back end.
read -r front dead < <(python3 -c 'import socket
a, b = socket.socket(), socket.socket()
a.bind(("127.0.0.1", 0)); b.bind(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
cat >nginx.conf <<CONF
daemon off; pid $dir/pid; error_log $dir/error.log; events {}
http {
  access_log off; client_body_temp_path $dir/a; proxy_temp_path $dir/b; fastcgi_temp_path $dir/c; uwsgi_temp_path $dir/d; scgi_temp_path $dir/e;
  server {
    listen 127.0.0.1:$front;
    mirror /copy;
    location / { proxy_pass http://127.0.0.1:$dead; error_page 502 = @fallback; }
    location @fallback { proxy_pass http://127.0.0.1:$fallback; }
    location = /copy { internal; proxy_pass http://127.0.0.1:$mirror; }
  }
}
CONF
timeout 60 "$nginx" -p "$dir" -c nginx.conf 2>/dev/null & pids+=($!)
answer=$(curl -s --retry 20 --retry-connrefused --retry-delay 1 -m 30 -X POST -d order=1 "http://127.0.0.1:$front/")
# The copies go their own way: ask until nothing more has come for a second.
copies=$(curl -s "http://127.0.0.1:$mirror/")
for _ in $(seq 10); do
	sleep 1
	now=$(curl -s "http://127.0.0.1:$mirror/")
	[ "$now" = "$copies" ] && break
	copies=$now
done
taken=$(curl -s "http://127.0.0.1:$fallback/")
echo "the client sent one POST and was answered \"$answer\"; the fallback took $taken, the mirror $copies"
[ "$answer $taken $copies" = "taken 1 2" ] || { echo CHANGED; exit 1; }
