package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what the toolchain wrote into the program; what it left out is
// empty.
type version struct {
	Version  string `json:"version"` // of the module; (devel) for one that was built by hand
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`     // of the revision
	Modified bool   `json:"modified,omitempty"` // there were changes beside the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Build    string `json:"build"` // as the instances say it
}

func newVersionCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print which migrate this is", Example: "  migrate version\n  migrate version --json | jq -r .revision", Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return runVersion(g) },
	}
}

func runVersion(g *globals) error {
	v := version{Version: "(unknown)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.read(info)
	}
	var err error
	if v.Build, err = buildID(g.self); err != nil {
		return err
	}
	return g.answer(v, v.print)
}

func (v *version) read(info *debug.BuildInfo) {
	v.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
}

func (v version) print(w io.Writer) {
	fmt.Fprintf(w, "migrate %s (build %s, %s, %s)\n", v.Version, v.Build, v.Go, v.Platform)
	if v.Revision == "" {
		return
	}
	fmt.Fprintf(w, "revision %s of %s", v.Revision, v.Time)
	if v.Modified {
		fmt.Fprint(w, ", with changes")
	}
	fmt.Fprintln(w)
}
