package nginx_test

import (
	"fmt"
	"testing"

	"migrate.invalid/migrate/nginx"
)

// A network that is named twice, in whatever way, is one.
func TestParseTrusted(t *testing.T) {
	got, err := nginx.ParseTrusted([]string{"10.1.2.3/8", "10.0.0.0/8", "fd00::1", "fd00::1/128", "10.0.0.1"})
	if want := "[10.0.0.0/8 fd00::1/128 10.0.0.1/32]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v; want %s", got, err, want)
	}
	for _, bad := range []string{"", "localhost", "10.0.0.0/33", "fe80::1%eth0"} {
		if got, err := nginx.ParseTrusted([]string{bad}); err == nil {
			t.Errorf("%q is taken for %v", bad, got)
		}
	}
}
