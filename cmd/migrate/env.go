package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envAnnotation names another variable for a flag that means something else
// than its namesakes: who exports MIGRATE_PORT for spawn wants no filter.
const envAnnotation = "migrate-env"

// envName is the variable that a flag can be set by.
func envName(f *pflag.Flag) string {
	if other := f.Annotations[envAnnotation]; len(other) == 1 {
		return other[0]
	}
	return "MIGRATE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// fromEnvironment sets every flag that was not given from its variable; an
// empty one counts as unset. Hidden flags are between this program's own
// processes, and have none.
func fromEnvironment(cmd *cobra.Command) error {
	var errs []error
	flags := cmd.Flags()
	flags.VisitAll(func(f *pflag.Flag) {
		v := os.Getenv(envName(f))
		if v == "" || f.Changed || f.Name == "help" || f.Name == "version" || f.Hidden {
			return
		}
		if err := f.Value.Set(v); err != nil {
			errs = append(errs, badUsage(cmd, "the environment variable %s is %q, which is not %s", envName(f), v, kind(f)))
			return
		}
		f.Changed = true
	})
	return errors.Join(errs...)
}

// kind is in words what a flag takes.
func kind(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "int", "uint64":
		return "a whole number"
	case "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "duration":
		return "a duration such as 30s or 2m"
	}
	return "a " + f.Value.Type()
}

// badFlag is a flag that can't be understood, without the words of the package
// that tried to.
func badFlag(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		return badUsage(cmd, "--%s: %q is not %s", bad.GetFlag().Name, bad.GetValue(), kind(bad.GetFlag()))
	}
	return badUsage(cmd, "%w", err)
}

// wantsJSON says whether even a command line that can't be understood asks for
// its error in JSON.
func wantsJSON(args []string) bool {
	want, _ := strconv.ParseBool(os.Getenv("MIGRATE_JSON"))
	for _, arg := range args {
		switch {
		case arg == "--":
			return want
		case arg == "--json":
			want = true
		case strings.HasPrefix(arg, "--json="):
			want, _ = strconv.ParseBool(strings.TrimPrefix(arg, "--json="))
		}
	}
	return want
}

// badUsage is a command line that can't be understood.
func badUsage(cmd *cobra.Command, format string, args ...any) error {
	return next(usageError{fmt.Errorf(format, args...)}, "nothing was changed", cmd.CommandPath()+" --help")
}

// noArgs refuses arguments of a command that takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return badUsage(cmd, "%s takes no argument such as %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// group makes a command that only has commands below it: without one it
// helps, with one that it doesn't have it says which are near.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknown(cmd, args[0])
	}
	return cmd
}

// unknown is a command that a group doesn't have.
func unknown(cmd *cobra.Command, name string) error {
	text := fmt.Sprintf("unknown command %q", cmd.CommandPath()+" "+name)
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return badUsage(cmd, "%s", text)
}
