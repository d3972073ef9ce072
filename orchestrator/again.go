package orchestrator

import (
	"strings"

	"migrate.invalid/migrate/app/redact"
)

// Again is a command line of migrate that a person may type as it is: a
// service of one's own follows it as it was given, placeholders and all.
func Again(command string, own []string) string {
	if len(own) == 0 {
		return command
	}
	words := make([]string, len(own))
	for n, word := range own {
		words[n] = Quoted(word)
	}
	command += " -- " + strings.Join(words, " ")
	if strings.Contains(command, redact.Hidden) {
		command += " # " + redact.Hidden + " stands for a password, which is not kept"
	}
	return command
}

// Quoted is a word as every shell takes it for one.
func Quoted(word string) string {
	plain := strings.NewReplacer("{port}", "", "{step}", "").Replace(word)
	odd := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%", r)
	}
	if word != "" && !strings.ContainsFunc(plain, odd) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// own is the command without passwords, if it is the user's.
func (opts SpawnOptions) own() []string {
	if !opts.Own {
		return nil
	}
	return redact.Words(opts.Command)
}

// own is the command of the service that runs, or ran last, if it is the user's.
func (v view) own() []string {
	if v.active != nil {
		return v.active.Own
	}
	if len(v.others) > 0 {
		return v.others[0].Own
	}
	return v.last
}

// Own is the command of the user's own that was given for the instance on the
// port, or for the one that was stopped last; empty if there is none.
func (o *Orchestrator) Own(port int) ([]string, error) {
	s, _, err := o.load()
	if err != nil {
		return nil, err
	}
	if i, known := s.Instances[port]; known {
		return i.Own, nil
	}
	return s.Own, nil
}
