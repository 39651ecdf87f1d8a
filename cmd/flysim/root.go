package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const rootHelp = `Flysim plays Fly.io towards an extension provider, in any language, at a URL: it
signs requests as Fly.io does and sends them, and shows what a customer would
see. It sends nothing anywhere else.

  export FLYIO_SIGNING_SECRET=...     # what the provider has
  flysim check http://localhost:8080/flyio      # is all there that is required?

  export FLYSIM_BASE_URL=http://localhost:8080/flyio
  flysim provision --prefix LOGJAM_ > app.env   # be a customer, get secrets
  flysim provision -v                           # see every byte that is signed

` + secretsHelp + "\n\n" + exitCodes

// usageTemplate is cobra's, 80 columns wide.
const usageTemplate = `Usage:{{if and .Runnable .HasParent}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND [flags]

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 80 | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of all commands:
{{.InheritedFlags.FlagUsagesWrapped 80 | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" tells more about a command.{{end}}
`

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "flysim",
		Short:         "Play Fly.io towards an extension provider",
		Long:          rootHelp,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			text := fmt.Sprintf("there is no command %q", args[0])
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				text += "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return usagef("%s (flysim --help lists all)", text)
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true}) // --help does it
	root.PersistentFlags().SortFlags = false
	p.addFlags(root.PersistentFlags())
	commands := []*cobra.Command{
		p.provisionCommand(), p.updateCommand(), p.fetchCommand(), p.deprovisionCommand(),
		p.eventCommand(), p.ssoCommand(), p.checkCommand(), p.serveCommand(), p.explainCommand(), p.sendCommand(), p.replayCommand(),
	}
	for _, cmd := range commands {
		cmd.Flags().SortFlags = false
		cmd.DisableFlagsInUseLine = true
		cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return p.resolve(cmd) }
		root.AddCommand(cmd)
	}
	return root
}

// flagError says what is wrong with a flag. It never has a flag's value, as
// pflag's own errors do, because it may be a secret.
func flagError(cmd *cobra.Command, err error) error {
	help := " (" + cmd.CommandPath() + " --help lists them)"
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if name := e.GetSpecifiedShortnames(); name != "" {
			return usagef("there is no flag -%s; all but -v and -h begin with two dashes%s", e.GetSpecifiedName(), help)
		}
		return usagef("there is no flag --%s%s", e.GetSpecifiedName(), help)
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		name := e.GetFlag().Name
		if slices.Contains([]string{"signing-secret", "bearer-token", "client-secret", "webhook-secret"}, name) {
			return usagef("--%s: that cannot be", name)
		}
	}
	return &usageError{err}
}

// oneID accepts the id of an extension as the only argument.
func oneID(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0 || args[0] == "":
		return usagef("which extension? %s takes its id, which flysim provision tells", cmd.CommandPath())
	case len(args) > 1:
		return usagef("%s takes one id, and there are %d", cmd.CommandPath(), len(args))
	}
	return nil
}

// noArguments refuses arguments. It repeats none but a URL, since one may be a
// secret.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if u, err := url.Parse(args[0]); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return usagef("unexpected argument %s; use --base-url %s", u.Redacted(), u.Redacted())
	}
	return usagef("unexpected argument; %s takes flags only", cmd.CommandPath())
}

// baseURLArgument takes the base URL as the only argument.
func baseURLArgument(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case len(args) > 1 || !strings.HasPrefix(args[0], "http://") && !strings.HasPrefix(args[0], "https://"):
		return usagef("unexpected argument; %s takes the base URL, such as http://localhost:8080/flyio", cmd.CommandPath())
	case cmd.Flags().Changed("base-url"):
		return usagef("the base URL is there twice, as an argument and as --base-url")
	}
	return cmd.Flags().Set("base-url", args[0])
}
