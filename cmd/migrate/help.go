package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is what help fits in, whatever the terminal: a page that is read
// best when it is narrow.
const helpWidth = 80

// The groups that help lists commands in.
const (
	groupStart = "start"
	groupMove  = "move"
	groupLook  = "look"
	groupData  = "data"
	groupParts = "parts"
)

func groups() []*cobra.Group {
	return []*cobra.Group{
		{ID: groupStart, Title: "Start here"},
		{ID: groupMove, Title: "Move the service"},
		{ID: groupLook, Title: "Look"},
		{ID: groupData, Title: "Data"},
		{ID: groupParts, Title: "Parts"},
	}
}

func newHelpCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Print a command's page",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if of, _, err := cmd.Root().Find(args); err == nil {
				for _, c := range of.Commands() {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return unknown(of, rest[0])
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

// help prints a command's page.
func help(cmd *cobra.Command, _ []string) {
	w := cmd.OutOrStdout()
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintln(w, strings.TrimSpace(text))
	_ = usage(cmd, w)
}

// usage prints how a command is called, and what it takes.
func usage(cmd *cobra.Command, w io.Writer) error {
	section := func(title, body string) {
		if body = strings.Trim(body, "\n"); body != "" {
			fmt.Fprintf(w, "\n%s\n%s\n", title, body)
		}
	}
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " COMMAND"
	}
	section("Usage", "  "+line)
	section("Examples", cmd.Example)
	for _, g := range cmd.Groups() {
		section(g.Title, commandsOf(cmd, g.ID))
	}
	rest := "More"
	if len(cmd.Groups()) == 0 {
		rest = "Commands"
	}
	section(rest, commandsOf(cmd, ""))
	if cmd.HasParent() {
		section("Flags", cmd.LocalFlags().FlagUsagesWrapped(helpWidth))
		var names []string
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		section("Flags of every command (see migrate --help)", indent(names))
	} else {
		section("Flags", cmd.LocalNonPersistentFlags().FlagUsagesWrapped(helpWidth))
		section("Flags of every command", cmd.PersistentFlags().FlagUsagesWrapped(helpWidth))
	}
	return nil
}

func commandsOf(cmd *cobra.Command, id string) string {
	var b strings.Builder
	for _, c := range cmd.Commands() {
		if c.GroupID == id && (c.IsAvailableCommand() || c.Name() == "help") {
			fmt.Fprintf(&b, "  %-*s  %s\n", cmd.NamePadding(), c.Name(), c.Short)
		}
	}
	return b.String()
}

// indent sets words in lines of the page's width.
func indent(words []string) string {
	var b strings.Builder
	at := 0
	for _, word := range words {
		if at == 0 || at+1+len(word) > helpWidth {
			b.WriteString("\n ")
			at = 1
		}
		b.WriteString(" " + word)
		at += 1 + len(word)
	}
	return b.String()
}
