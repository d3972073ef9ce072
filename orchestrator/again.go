package orchestrator

import "strings"

// Again is a command line of migrate that a person may type as it is: a
// service of one's own follows it as it was given, placeholders and all.
func Again(command string, own []string) string {
	if len(own) == 0 {
		return command
	}
	words := make([]string, len(own))
	for n, word := range own {
		words[n] = quoted(word)
	}
	return command + " -- " + strings.Join(words, " ")
}

// quoted is a word as every shell takes it for one.
func quoted(word string) string {
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
	own := make([]string, len(opts.Command))
	for n, word := range opts.Command {
		own[n] = redact(word)
	}
	return own
}

// own is the command of the service that runs, if it is the user's.
func (v view) own() []string {
	if v.active != nil {
		return v.active.Own
	}
	if len(v.others) > 0 {
		return v.others[0].Own
	}
	return nil
}

// Own is the command of the user's own that was given for the instance on the
// port; empty if there is none.
func (o *Orchestrator) Own(port int) ([]string, error) {
	s, _, err := o.load()
	if err != nil {
		return nil, err
	}
	return s.Instances[port].Own, nil
}
