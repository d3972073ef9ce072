package orchestrator

import "testing"

func TestAgainCanBeTyped(t *testing.T) {
	for _, c := range []struct {
		own  []string
		want string
	}{
		{nil, "migrate switch"},
		{[]string{"./svc", "--listen", "127.0.0.1:{port}", "a=b"}, "migrate switch -- ./svc --listen 127.0.0.1:{port} a=b"},
		{[]string{"sh", "-c", "it's $HOME"}, `migrate switch -- sh -c 'it'\''s $HOME'`},
		{[]string{"x", "", "{a,b}", "~"}, "migrate switch -- x '' '{a,b}' '~'"},
	} {
		if got := Again("migrate switch", c.own); got != c.want {
			t.Errorf("%q: got %s, want %s", c.own, got, c.want)
		}
	}
}
