package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/redact"
)

// warnOfURI says what is wrong with a password on the command line: every
// account of the machine can read it there while the command runs.
func (g *globals) warnOfURI(typed map[string]bool) {
	for _, f := range []struct{ name, uri, variable string }{
		{flagOld, g.spelled.Old, "MIGRATE_OLD"}, {flagNew, g.spelled.New, "MIGRATE_NEW"}, {flagMongoURI, g.spelled.MongoURI, "MIGRATE_MONGO_URI"},
	} {
		if typed[f.name] && redact.Secrets(f.uri) {
			g.warn(fmt.Sprintf("the password in --%s shows in the machine's list of processes and in the shell's history: set %s instead", f.name, f.variable))
		}
	}
}

// knowDeclared reads a declaration that is named for this command, so that a
// fault in it is told before anything is done, and has its secrets hidden.
func (g *globals) knowDeclared(cmd *cobra.Command) error {
	if g.Config == "" || cmd.Flags().Lookup("config") == nil {
		return nil
	}
	_, err := g.declaration()
	return err
}

// warnOfCommand says the same of a service of one's own, which goes on showing
// it for as long as it runs.
func (g *globals) warnOfCommand(command []string) {
	if shown := redact.Shows(command); len(shown) > 0 {
		g.warn(fmt.Sprintf("%s in the service's command shows a secret in the machine's list of processes: set a variable before this command instead, which the service inherits",
			strings.Join(shown, ", ")))
	}
}
