//go:build !linux

package nginx_test

import "testing"

func bindMount(t *testing.T, _ string) string {
	t.Skip("a bind mount is Linux's")
	return ""
}
