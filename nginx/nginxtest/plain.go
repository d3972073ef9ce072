package nginxtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Plain is the usual way to move traffic, for comparison: an nginx of its own
// whose upstream is rewritten and reloaded.
type Plain struct {
	Listen string // its address
	dir    string
	more   string // directives of its location
	nginx  *exec.Cmd
	said   bytes.Buffer
}

// StartPlain starts one before the instance on the port, with more directives
// of its location. It is ended when the test ends.
func StartPlain(t testing.TB, port int, more ...string) *Plain {
	t.Helper()
	p := &Plain{Listen: fmt.Sprintf("127.0.0.1:%d", FreePorts(t, 1)), dir: t.TempDir(), more: strings.Join(more, "\n")}
	p.write(t, port)
	p.nginx = exec.Command(Binary(t), "-p", p.dir, "-e", p.path("error.log"), "-c", p.path("nginx.conf"))
	p.nginx.Stdout, p.nginx.Stderr = &p.said, &p.said
	p.nginx.WaitDelay = time.Second // its workers have its output, too
	if err := p.nginx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.signal(t, syscall.SIGTERM)
		if err := p.nginx.Wait(); err != nil {
			t.Errorf("plain nginx: %v: %s", err, &p.said)
		}
	})
	return p
}

// Move rewrites the upstream and has nginx reload, which takes a moment.
func (p *Plain) Move(t testing.TB, port int) {
	t.Helper()
	p.write(t, port)
	p.signal(t, syscall.SIGHUP)
}

func (p *Plain) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.nginx.Process.Signal(s); err != nil {
		t.Errorf("plain nginx: %v", err)
	}
}

func (p *Plain) path(name string) string { return filepath.Join(p.dir, name) }

func (p *Plain) write(t testing.TB, port int) {
	t.Helper()
	text := fmt.Sprintf(`
		daemon off; worker_processes 2; pid %[1]q; error_log %[2]q warn;
		events { worker_connections 4096; }
		http {
			access_log off;
			client_body_temp_path %[3]q;
			upstream app { server 127.0.0.1:%[4]d; keepalive 64; }
			server {
				listen %[5]s;
				keepalive_requests 100000;
				location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; %[6]s }
			}
		}`, p.path("nginx.pid"), p.path("error.log"), p.path("body"), port, p.Listen, p.more)
	if os.Geteuid() == 0 {
		text = "user root root;" + text
	}
	if err := os.WriteFile(p.path("nginx.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
