package main

import (
	"bytes"
	"runtime/debug"
	"testing"
)

func TestVersionSaysWhatWasBuiltIn(t *testing.T) {
	var v version
	v.read(&debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2025-03-01T12:00:00Z"}, {Key: "vcs.modified", Value: "true"},
	}})
	v.Go, v.Platform, v.Build = "go1", "linux/any", "42"
	var out bytes.Buffer
	v.print(&out)
	if want := "migrate v1.2.3 (build 42, go1, linux/any)\nrevision abc of 2025-03-01T12:00:00Z, with changes\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	out.Reset()
	version{Version: "(devel)", Build: "42", Go: "go1", Platform: "linux/any"}.print(&out)
	if want := "migrate (devel) (build 42, go1, linux/any)\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
