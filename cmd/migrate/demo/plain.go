package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
)

// PlainNginx moves traffic as it is usually done: one upstream, rewritten,
// and `nginx -s reload`. It is an orchestrator.Traffic without a fallback, and
// a Proxy. For the demonstration of the published pattern alone: what the
// project ships is package nginx.
type PlainNginx struct {
	Dir    string // absolute
	Listen string // host:port
}

const plainConf = `# migrate demo --as-published
%[1]spid "%[2]s/nginx.pid";
error_log "%[2]s/error.log";
events {}
http {
  access_log off;
  client_body_temp_path "%[2]s/temp"; proxy_temp_path "%[2]s/temp"; fastcgi_temp_path "%[2]s/temp";
  uwsgi_temp_path "%[2]s/temp"; scgi_temp_path "%[2]s/temp";
  upstream live { server 127.0.0.1:%[3]d; keepalive 64; }
  server {
    listen %[4]s;
    location = /upstream { return 200 "%[3]d"; }
    location / {
      proxy_pass http://live;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
    }
  }
}
`

func (p *PlainNginx) conf() string { return filepath.Join(p.Dir, "nginx.conf") }

func (p *PlainNginx) write(port int) error {
	as := ""
	if os.Geteuid() == 0 { // else the workers can't reach the folder
		me, err := user.Current()
		if err != nil {
			return err
		}
		as = "user " + me.Username + ";\n"
	}
	text := fmt.Sprintf(plainConf, as, p.Dir, port, p.Listen)
	return renameio.WriteFile(p.conf(), []byte(text), 0o600, renameio.WithTempDir(p.Dir))
}

// run runs nginx on the folder; it returns once nginx is a daemon or has done
// what it was told.
func (p *PlainNginx) run(ctx context.Context, args ...string) error {
	binary := os.Getenv("MIGRATE_NGINX")
	if binary == "" {
		binary = "nginx"
		if _, err := exec.LookPath(binary); err != nil {
			binary = "/usr/sbin/nginx" // not in everybody's PATH
		}
	}
	cmd := exec.CommandContext(ctx, binary, append([]string{"-p", p.Dir, "-e", filepath.Join(p.Dir, "error.log"), "-c", p.conf()}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nginx %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// Start makes its folder. nginx itself begins with the first instance: there
// is no upstream before.
func (p *PlainNginx) Start(context.Context) error {
	return os.MkdirAll(filepath.Join(p.Dir, "temp"), 0o700)
}

// Stop ends it and waits until it is gone; one that doesn't run is no error.
func (p *PlainNginx) Stop(ctx context.Context) error {
	for _, how := range []string{"quit", "stop"} {
		if !p.running(ctx) {
			return nil
		}
		if err := p.run(ctx, "-s", how); err != nil && p.running(ctx) {
			return err
		}
		for end := time.Now().Add(5 * time.Second); p.running(ctx) && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if p.running(ctx) {
		return fmt.Errorf("the nginx of %s does not end", p.Dir)
	}
	return nil
}

// running looks whether the process of the PID file is this folder's nginx,
// and not another that has its number by now.
func (p *PlainNginx) running(ctx context.Context) bool {
	pid, err := os.ReadFile(filepath.Join(p.Dir, "nginx.pid"))
	if err != nil {
		return false
	}
	title, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "args=", "-p", strings.TrimSpace(string(pid))).Output()
	return err == nil && strings.Contains(string(title), "nginx: master process") && strings.Contains(string(title), "-p "+p.Dir+" ")
}

var upstream = regexp.MustCompile(`upstream live \{ server 127\.0\.0\.1:(\d+);`)

// Live is the port that the configuration names.
func (p *PlainNginx) Live() (int, error) {
	text, err := os.ReadFile(p.conf())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	found := upstream.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("%s names no upstream", p.conf())
	}
	return strconv.Atoi(string(found[1]))
}

// Move rewrites the upstream and reloads.
func (p *PlainNginx) Move(ctx context.Context, port int) error {
	if port == 0 { // a first move that could not be confirmed is put back
		return errors.Join(p.Stop(ctx), os.Remove(p.conf()))
	}
	if err := p.write(port); err != nil {
		return err
	}
	if !p.running(ctx) {
		return p.run(ctx)
	}
	return p.run(ctx, "-s", "reload")
}

// Served asks nginx itself.
func (p *PlainNginx) Served(ctx context.Context) (live, fallback int, err error) {
	if live, err := p.Live(); err != nil || live == 0 {
		return 0, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+"/upstream", nil)
	if err != nil {
		return 0, 0, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 16))
	if err != nil {
		return 0, 0, err
	}
	live, err = strconv.Atoi(string(text))
	return live, 0, err
}

// Fallback is none.
func (p *PlainNginx) Fallback() (int, error) { return 0, nil }

// SetFallback does nothing: one upstream has one server.
func (p *PlainNginx) SetFallback(context.Context, int) error { return nil }

// URL is where clients reach it.
func (p *PlainNginx) URL() string { return "http://" + p.Listen }
