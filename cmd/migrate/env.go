package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
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

// typedOnly reports whether a flag acts only where somebody has typed it. What
// overrides a refusal is the word of a person about one command; a variable
// would give that word for each command that comes after.
func typedOnly(f *pflag.Flag) bool { return overrides(f) || limits(f) }

// overrides reports whether a flag makes a command do what it would refuse.
func overrides(f *pflag.Flag) bool {
	return slices.Contains([]string{"yes", "force", "accept", "drop", "gone-host", "gone-pod", "open-old"}, f.Name)
}

// limits reports whether a flag keeps a command from doing anything.
func limits(f *pflag.Flag) bool { return f.Name == "dry-run" }

// hasVariable reports whether a flag can be set by a variable. Hidden flags are
// between this program's own processes.
func hasVariable(f *pflag.Flag) bool {
	return !typedOnly(f) && !f.Hidden && f.Name != "help" && f.Name != "version"
}

// fromEnvironment sets every flag that was not given from its variable. It
// refuses a flag or a variable that is set and empty: that is how a script
// passes on a name that it forgot to set, and a default would act on
// something that nobody asked for.
func fromEnvironment(cmd *cobra.Command) error {
	var errs []error
	if v, set := os.LookupEnv(nginxVariable); set && strings.TrimSpace(v) == "" {
		errs = append(errs, emptyVariable(nginxVariable))
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		v, set := os.LookupEnv(envName(f))
		switch {
		case f.Changed && isEmpty(f.Value):
			errs = append(errs, emptyFlag(f))
		case f.Changed || !set:
		case limits(f) && v != "" && !isFalse(v):
			errs = append(errs, next(usageError{fmt.Errorf("%s is set, and has no effect: this command would not be limited by it", envName(f))},
				"nothing was changed", fmt.Sprintf("give --%s on the command line; or unset %s to have it done", f.Name, envName(f))))
		case !hasVariable(f):
		case strings.TrimSpace(v) == "":
			errs = append(errs, emptyVariable(envName(f)))
		default:
			if err := f.Value.Set(v); err != nil {
				errs = append(errs, badUsage(cmd, "the environment variable %s is %q, which is not %s", envName(f), v, kind(f)))
				return
			}
			f.Changed = true
			if isEmpty(f.Value) {
				errs = append(errs, emptyVariable(envName(f)))
			}
		}
	})
	return errors.Join(errs...)
}

// nginxVariable names the program, and has no flag.
const nginxVariable = "MIGRATE_NGINX"

// withoutEffect lists the variables that somebody has set in place of a flag of
// this command that overrides.
func withoutEffect(cmd *cobra.Command) []string {
	var all []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if v := os.Getenv(envName(f)); overrides(f) && !f.Changed && v != "" && !isFalse(v) {
			all = append(all, fmt.Sprintf("%s has no effect: what overrides a refusal is given on the command line, as --%s", envName(f), f.Name))
		}
	})
	return all
}

func isFalse(text string) bool {
	v, err := strconv.ParseBool(text)
	return err == nil && !v
}

// isEmpty reports whether a flag was given nothing, or nothing in one place of
// a list.
func isEmpty(v pflag.Value) bool {
	blank := func(text string) bool { return strings.TrimSpace(text) == "" }
	if list, ok := v.(pflag.SliceValue); ok {
		all := list.GetSlice()
		return len(all) == 0 || slices.ContainsFunc(all, blank)
	}
	return blank(v.String())
}

func emptyFlag(f *pflag.Flag) error {
	return next(usageError{fmt.Errorf("--%s is empty", f.Name)}, "nothing was changed",
		fmt.Sprintf(`leave --%s out, or give it a value; a script says "${NAME:?}" for a variable that must be set`, f.Name))
}

func emptyVariable(name string) error {
	return next(usageError{fmt.Errorf("the environment variable %s is set and empty", name)}, "nothing was changed",
		fmt.Sprintf("unset %s, or give it a value", name))
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
	case "stringSlice":
		return `a list with commas between; a value with a comma or a quote in it stands in quotes, each of its own twice: '"/a""b"'`
	}
	return "a " + f.Value.Type()
}

// badFlag is a flag that can't be understood, without the words of the package
// that tried to.
func badFlag(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		if strings.TrimSpace(bad.GetValue()) == "" {
			return emptyFlag(bad.GetFlag())
		}
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
