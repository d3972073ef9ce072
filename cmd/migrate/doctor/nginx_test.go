package doctor

import (
	"errors"
	"fmt"
	"testing"

	"migrate.invalid/migrate/nginx"
)

// What nginx warns of is not why it rejects a configuration.
func TestFirstLine(t *testing.T) {
	rejected := func(said string) error { return fmt.Errorf("%w, and more: %s", nginx.ErrRejected, said) }
	for _, test := range []struct {
		err  error
		want string
	}{
		{errors.New("one\ntwo"), "one"},
		{rejected("nginx: [emerg] unknown directive\nnginx: test failed"), nginx.ErrRejected.Error() + ", and more: nginx: [emerg] unknown directive"},
		{rejected("nginx: [warn] twice\nnginx: [warn] again\nnginx: [emerg] no folder\nnginx: test failed"), nginx.ErrRejected.Error() + ", and more: nginx: [emerg] no folder"},
		{rejected("nginx: [warn] twice\nkilled"), nginx.ErrRejected.Error() + ", and more: nginx: [warn] twice"},
	} {
		if got := firstLine(test.err); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
