package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/orchestrator"
)

// glanceTime bounds how long a shell waits for what could be typed next.
const glanceTime = 500 * time.Millisecond

func newCompletionCmd() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print what lets a shell complete commands, ports and steps",
		Long: `Print the script that lets a shell complete commands, flags, and the ports and
steps of this state folder. Bash needs the package bash-completion for it.`,
		Example: `  source <(migrate completion bash)
  migrate completion zsh > "${fpath[1]}/_migrate"
  migrate completion fish > ~/.config/fish/completions/migrate.fish
  migrate completion powershell | Out-String | Invoke-Expression`,
		ValidArgs: shells,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return badUsage(cmd, "name one shell: bash, zsh, fish or powershell")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, w := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "zsh":
				return root.GenZshCompletion(w)
			case "fish":
				return root.GenFishCompletion(w, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(w)
			}
			return root.GenBashCompletionV2(w, true)
		},
	}
}

// scene is what completion knows: what runs, and the proxy's range.
type scene struct {
	orchestrator.Status
	first, step int // the first port; the active instance's step, 0 if there is none
}

// completes makes a function that a shell asks.
func (g *globals) completes(choices func(scene) []cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 && cmd.Name() != "spawn" || fromEnvironment(cmd) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s := scene{first: firstPort}
		if orch, proxy, err := g.orchestrator(); err == nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), glanceTime)
			defer cancel()
			s.Status, _ = orch.Status(ctx) // what is not known is not offered
			s.first = proxy.Config().FirstPort
		}
		for _, i := range s.Instances {
			if i.Role == orchestrator.RoleActive {
				s.step = i.Step
			}
		}
		return choices(s), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// complete has a flag completed. It fails only if there is no such flag, which
// every use of the program would show.
func (g *globals) complete(cmd *cobra.Command, flag string, choices func(scene) []cobra.Completion) {
	if err := cmd.RegisterFlagCompletionFunc(flag, g.completes(choices)); err != nil {
		cmd.PreRunE = func(*cobra.Command, []string) error { return err }
	}
}

// portsOf are the instances that are wanted.
func portsOf(wanted func(orchestrator.InstanceStatus) bool) func(scene) []cobra.Completion {
	return func(s scene) []cobra.Completion {
		var all []cobra.Completion
		for _, i := range s.Instances {
			if wanted(i) {
				all = append(all, cobra.CompletionWithDesc(strconv.Itoa(i.Port), fmt.Sprintf("step %d, %s", i.Step, i.Role)))
			}
		}
		return all
	}
}

func anyInstance(orchestrator.InstanceStatus) bool { return true }

func inactive(i orchestrator.InstanceStatus) bool {
	return i.Running && i.Role != orchestrator.RoleActive
}

// freePorts are the next few of the range that nothing of ours has.
func freePorts(s scene) []cobra.Completion {
	const few = 4
	taken := map[int]bool{s.Live: true, s.Fallback: true}
	at := 0
	if s.Live != 0 {
		at = s.Live - s.first + 1
	}
	for _, i := range s.Instances {
		taken[i.Port] = true
	}
	var all []cobra.Completion
	for n := range ports {
		if port := s.first + (at+n+ports)%ports; !taken[port] && len(all) < few {
			all = append(all, strconv.Itoa(port))
		}
	}
	return all
}

// nextSteps are those that may be live beside the active instance.
func nextSteps(s scene) []cobra.Completion {
	var all []cobra.Completion
	for _, step := range besides(s.step) {
		all = append(all, stepChoice(step))
	}
	return all
}

// besides are the steps that may be live beside one, the likeliest first; 0 is
// none yet.
func besides(at int) []int {
	if at == 0 {
		return []int{1}
	}
	return slices.DeleteFunc([]int{at + 1, at, at - 1}, func(step int) bool { return step < 1 || step > lastStep })
}

// laterSteps are those ahead.
func laterSteps(s scene) []cobra.Completion {
	var all []cobra.Completion
	for step := s.step + 1; step <= lastStep; step++ {
		all = append(all, stepChoice(step))
	}
	return all
}

func allSteps(scene) []cobra.Completion { return laterSteps(scene{}) }

func stepChoice(step int) cobra.Completion {
	return cobra.CompletionWithDesc(strconv.Itoa(step), migration.Step(step).Name())
}

func words(all ...string) func(scene) []cobra.Completion {
	return func(scene) []cobra.Completion { return all }
}

// gateNames are what --force takes: not triggers and filled, which nobody's word
// passes.
func gateNames(scene) []cobra.Completion {
	return []cobra.Completion{
		migration.GateNewReady, migration.GateNewWrites, migration.GateCleared, migration.GateCompared,
		migration.GateFence, migration.GateMirror, migration.GateComplete, migration.GateVerified, migration.GateQuarantine,
	}
}
