package nginx_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/nginx/nginxtest"
)

// One folder is one folder by whatever path: the nginx that was started by one
// of its paths is known, moved and stopped by each other one.
func TestFolderByAnotherPath(t *testing.T) {
	for _, by := range []struct {
		name string
		way  func(t *testing.T, dir string) string // another path of the folder above nginx's
	}{
		{"link", func(t *testing.T, dir string) string {
			link := filepath.Join(t.TempDir(), "current")
			if err := os.Symlink(dir, link); err != nil {
				t.Fatal(err)
			}
			return link
		}},
		{"moved", func(t *testing.T, dir string) string {
			other := filepath.Join(t.TempDir(), "elsewhere")
			if err := os.Rename(dir, other); err != nil {
				t.Fatal(err)
			}
			return other
		}},
		{"mount", bindMount},
	} {
		t.Run(by.name, func(t *testing.T) {
			first := nginxtest.StartIn(t, filepath.Join(t.TempDir(), "a folder -e x", "nginx"), 2)
			cfg := first.Config()
			cfg.Dir = filepath.Join(by.way(t, filepath.Dir(cfg.Dir)), "nginx")
			other, err := nginx.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if status, err := other.Status(t.Context()); err != nil || !status.Running {
				t.Errorf("status by the other path: %+v, %v", status, err)
			}
			if _, err := other.Served(t.Context()); err != nil {
				t.Errorf("served by the other path: %v", err)
			}
			if by.name != "moved" { // whose links nginx no longer finds, until it is reloaded
				if err := other.Move(t.Context(), cfg.FirstPort+1); err != nil {
					t.Fatal(err)
				}
				if route, err := first.Served(t.Context()); err != nil || route.Live != cfg.FirstPort+1 {
					t.Errorf("moved by the other path, it serves %+v, %v", route, err)
				}
			}
			if err := other.Start(t.Context()); err != nil {
				t.Errorf("start by the other path: %v", err)
			}
			if route, err := other.Served(t.Context()); err != nil || by.name != "moved" && route.Live != cfg.FirstPort+1 {
				t.Errorf("after that start, it serves %+v, %v", route, err)
			}
			if err := other.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := other.Served(t.Context()); !errors.Is(err, nginx.ErrNotRunning) {
				t.Errorf("after a stop by the other path: %v", err)
			}
		})
	}
}

// A copy of a folder is another folder, although it has the same files.
func TestCopiedFolder(t *testing.T) {
	first := nginxtest.Start(t, 2)
	cfg := first.Config()
	cfg.Dir = filepath.Join(t.TempDir(), "nginx")
	if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nginx.pid", "started"} {
		b, err := os.ReadFile(filepath.Join(first.Config().Dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(cfg.Dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	second, err := nginx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := second.Status(t.Context()); err != nil || status.Running {
		t.Errorf("the copy takes the first one's nginx for its own: %+v, %v", status, err)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := first.Served(t.Context()); err != nil {
		t.Errorf("after a stop of the copy: %v", err)
	}
}

// A link that is made to lead elsewhere doesn't take the folder with it.
func TestRealPath(t *testing.T) {
	top, err := nginx.RealPath(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(top, "releases", "1"), 0o700), os.Symlink("releases/1", filepath.Join(top, "current"))); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"current":               "releases/1",
		"current/.migrate":      "releases/1/.migrate",
		"current/not/yet/there": "releases/1/not/yet/there",
		"releases/1":            "releases/1",
		"nothing":               "nothing",
	} {
		if got, err := nginx.RealPath(filepath.Join(top, path)); err != nil || got != filepath.Join(top, want) {
			t.Errorf("%s is %s, %v; want %s", path, got, err, want)
		}
	}
}
