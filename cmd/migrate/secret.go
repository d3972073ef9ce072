package main

import (
	"fmt"
	"strings"

	"migrate/app/redact"
)

// warnOfURI says what is wrong with a password on the command line: every
// account of the machine can read it there while the command runs.
func (g *globals) warnOfURI() {
	if redact.Secrets(g.MongoURI) {
		g.warn("the password in --mongo-uri shows in the machine's list of processes and in the shell's history: set MIGRATE_MONGO_URI instead")
	}
}

// warnOfCommand says the same of a service of one's own, which goes on showing
// it for as long as it runs.
func (g *globals) warnOfCommand(command []string) {
	if shown := redact.Shows(command); len(shown) > 0 {
		g.warn(fmt.Sprintf("%s in the service's command shows a secret in the machine's list of processes: set a variable before this command instead, which the service inherits",
			strings.Join(shown, ", ")))
	}
}
