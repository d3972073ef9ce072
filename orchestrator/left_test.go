package orchestrator

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/orchestrator/process"
)

// shell is an instance that a shell starts.
func shell(t *testing.T, port int, script string) SpawnOptions {
	t.Helper()
	opts := spawnOptions(port, 1, "")
	opts.Command = []string{"sh", "-c", strings.ReplaceAll(script, "SERVE", opts.Command[0])}
	return opts
}

// An instance lives as long as any process of it: a shell that has ended, or
// was killed, has left the service behind. It is active, it makes no room for
// two more, and stop ends it.
func TestInstanceOutlivesItsShell(t *testing.T) {
	for _, script := range []string{"SERVE & exit 0", "set -m; SERVE & exit 0", "SERVE & wait"} {
		t.Run(script, func(t *testing.T) {
			r := newRig(t)
			got, err := r.open().Spawn(t.Context(), shell(t, r.first, script))
			if err != nil {
				t.Fatal(err)
			}
			r.change()
			id := got.Instance.Process
			if strings.HasSuffix(script, "wait") {
				process.Exited(id)
				killHard(t, id.PID)
			}
			for deadline := time.Now().Add(20 * time.Second); id.Alive(); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the shell goes on")
				}
			}
			st, err := r.open().Status(t.Context())
			if err != nil || len(st.Instances) != 1 || !st.Instances[0].Running || !st.Instances[0].Ready || len(st.Warnings) > 0 {
				t.Fatalf("status: %+v, %v", st, err)
			}
			r.spawn(1, 1, "")
			if _, err := r.open().Spawn(t.Context(), spawnOptions(r.first, 1, "")); err == nil {
				t.Error("its port was given to another one")
			}
			if _, err := r.open().StopAll(t.Context(), StopOptions{Yes: true}); err != nil {
				t.Fatal(err)
			}
			if err := bindable(r.first); err != nil {
				t.Errorf("after stop it still serves: %v", err)
			}
		})
	}
}

// A service that leaves its session can't be ended by us. It is named with its
// number where it is in the way, and nobody says that it was stopped.
func TestServiceThatBecomesADaemon(t *testing.T) {
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("needs /proc")
	}
	for name, script := range map[string]string{"at once": "setsid SERVE & exit 0", "later": "setsid SERVE & while ! [ -e DONE ]; do sleep 0.02; done"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			done := t.TempDir() + "/done"
			_, err := r.open().Spawn(t.Context(), shell(t, r.first, strings.ReplaceAll(script, "DONE", done)))
			daemon, found := process.FindListener(t.Context(), r.first)
			if !found {
				t.Fatalf("nobody listens: %v", err)
			}
			id, idErr := process.Identify(daemon.PID)
			if idErr != nil {
				t.Fatal(idErr)
			}
			t.Cleanup(func() {
				if err := process.Stop(context.Background(), id, 10*time.Second, func(string) {}); err != nil {
					t.Error(err)
				}
			})
			if name == "at once" {
				refused(t, err, ErrNotReady, "daemon", daemon.String())
			} else {
				if err != nil {
					t.Fatal(err)
				}
				_, err := r.open().Stop(t.Context(), StopOptions{Port: r.first})
				refused(t, err, errDaemon, daemon.String())
				if st, err := r.open().Status(t.Context()); err != nil || !strings.Contains(st.Instances[0].Reason, daemon.String()) {
					t.Errorf("status: %+v, %v", st.Instances, err)
				}
				if _, err := r.open().Spawn(t.Context(), spawnOptions(r.first, 1, "")); err == nil || !strings.Contains(err.Error(), daemon.String()) {
					t.Errorf("a spawn on its port: %v", err)
				}
			}
			if err := process.Stop(t.Context(), id, 10*time.Second, func(string) {}); err != nil {
				t.Fatal(err)
			}
			if _, err := r.open().StopAll(t.Context(), StopOptions{Yes: true}); err != nil {
				t.Errorf("once it has ended: %v", err)
			}
		})
	}
}
