package main

import (
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/orchestrator"
)

// settingsFlags binds how a service is waited for, asked and ended. What is not
// given is as it was for the instance before.
func settingsFlags(cmd *cobra.Command, s *orchestrator.Settings) {
	f := cmd.Flags()
	f.StringVar(&s.ReadyURL, "ready-url", "", "`path` that answers 200 once an instance is ready (default: as before, at first /readyz)")
	f.StringVar(&s.ConfigURL, "config-url", "", "`path` where an instance says its migration_step, or none (default: as before, at first /config)")
	f.DurationVar((*time.Duration)(&s.ReadyTimeout), "ready-timeout", 0, "how `long` an instance may take to be ready (default: as before, at first 5m)")
	drainFlag(cmd, &s.DrainTimeout)
	graceFlag(cmd, &s.Grace)
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if err := s.Check(); err != nil {
			return badUsage(cmd, "%w", err)
		}
		if check != nil {
			return check(cmd, args)
		}
		return nil
	}
	positive(cmd, "ready-timeout")
}

func drainFlag(cmd *cobra.Command, d *orchestrator.Duration) {
	cmd.Flags().DurationVar((*time.Duration)(d), "drain-timeout", 0, "how `long` the previous instance may take to finish what it has begun (default: as before, at first 30s)")
	positive(cmd, "drain-timeout")
}

func graceFlag(cmd *cobra.Command, d *orchestrator.Duration) {
	cmd.Flags().DurationVar((*time.Duration)(d), "grace", 0, "how `long` an instance has from SIGTERM to SIGKILL (default: as before, at first 15s)")
	positive(cmd, "grace")
}

// positive refuses a duration that was given and is not more than 0.
func positive(cmd *cobra.Command, name string) {
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if d, err := cmd.Flags().GetDuration(name); err == nil && cmd.Flags().Changed(name) && d <= 0 {
			return badUsage(cmd, "--%s is %v: want more than 0, such as 30s or 2m", name, d)
		}
		if check != nil {
			return check(cmd, args)
		}
		return nil
	}
}
