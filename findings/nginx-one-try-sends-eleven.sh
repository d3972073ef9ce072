#!/usr/bin/env bash
# nginx 1.22.1: with `proxy_next_upstream_tries 1` and one server, one GET is sent eleven times.
#
# Guess: an upstream with a single server and `proxy_next_upstream_tries 1` gets each request once. At most it gets it a
# second time, where a kept connection turns out to be closed already.
#
# Seen: a try on a kept connection that fails does not count as a try, although the whole request was sent and read. With
# `keepalive 10` and ten idle connections, a GET that makes the back end end the connection (a crash of its worker, a
# limit) is sent on each of the ten, and then on a new one. One poisonous GET ends eleven workers, and the client is told
# 502 once. A POST is sent once. `proxy_next_upstream off` sends the GET once, too. (Issue 9332 of kubernetes/ingress-nginx
# tells of the symptom; nginx's page on the directive doesn't.)
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

# backend.py keeps its connections open. It holds each /warm until ten have come, so that nginx opens ten connections. It
# reads a whole /poison, counts it by its method, and ends the connection. /count says the counts. It prints its port.
cat >backend.py <<'PY'
import asyncio, collections
counts, warm, ready = collections.Counter(), 0, asyncio.Event()
async def serve(reader, writer):
    global warm, ready
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            if path == "/poison":
                counts[method] += 1
                break
            if path == "/warm":
                warm += 1
                mine = ready
                if warm % 10 == 0:
                    ready = asyncio.Event()
                    mine.set()
                await mine.wait()
            body = f"{counts['GET']} {counts['POST']}".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
PY
timeout 120 python3 backend.py >port & pids+=($!)
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
back=$(cat port)
[ -n "$back" ] || { echo "the back end does not start"; exit 77; }
front=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])') # nobody listens there now

# try DIRECTIVE METHOD: how often one request arrives, by a new nginx with ten idle connections to the back end.
try() {
	cat >nginx.conf <<CONF
daemon off; pid $dir/pid; error_log $dir/error.log; events {}
http {
  access_log off; client_body_temp_path $dir/a; proxy_temp_path $dir/b; fastcgi_temp_path $dir/c; uwsgi_temp_path $dir/d; scgi_temp_path $dir/e;
  upstream back { server 127.0.0.1:$back; keepalive 10; }
  server {
    listen 127.0.0.1:$front;
    location / { proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ""; $1; }
  }
}
CONF
	timeout 60 "$nginx" -p "$dir" -c nginx.conf 2>/dev/null & local server=$!
	pids+=("$server")
	curl -s --retry 20 --retry-connrefused --retry-delay 1 -m 30 "http://127.0.0.1:$front/count" >/dev/null
	local before after clients=()
	for _ in $(seq 10); do curl -s -m 30 "http://127.0.0.1:$front/warm" >/dev/null & clients+=($!); done
	wait "${clients[@]}"
	before=$(curl -s "http://127.0.0.1:$back/count")
	code=$(curl -s -m 30 -o /dev/null -w '%{http_code}' -X "$2" "http://127.0.0.1:$front/poison")
	after=$(curl -s "http://127.0.0.1:$back/count")
	kill "$server"; wait "$server" 2>/dev/null || true
	read -r gets posts <<<"$before"; read -r gets2 posts2 <<<"$after"
	arrived=$((gets2 - gets + posts2 - posts))
	echo "$1: the client sent one $2 and was answered $code; it arrived $arrived times"
}
try 'proxy_next_upstream_tries 1' GET; one=$arrived
try 'proxy_next_upstream_tries 1' POST; post=$arrived
try 'proxy_next_upstream off' GET; off=$arrived
[ "$one $post $off" = "11 1 1" ] || { echo CHANGED; exit 1; }
