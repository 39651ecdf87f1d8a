package main

import (
	"errors"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const rootHelp = `Flysim is a Fly.io simulator for extension providers in any language. It signs
requests as Fly.io does, sends them to the provider's base URL, and shows what a
customer would see. It contacts no other service on the network.

  # The signing secret of the provider
  export FLYIO_SIGNING_SECRET=...
  # Test the requirements of the protocol
  flysim check http://localhost:8080/flyio

  export FLYSIM_BASE_URL=http://localhost:8080/flyio
  # Provision an extension and keep its secrets
  flysim provision --prefix LOGJAM_ > app.env
  # Show each request, answer and signed byte
  flysim provision --verbose

` + secretsHelp + "\n\n" + exitCodes

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "flysim",
		Short:         "A Fly.io simulator for extension providers",
		Long:          rootHelp,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownCommand(cmd, args[0])
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { p.showHelp(cmd) })
	root.PersistentFlags().SortFlags = false
	p.addFlags(root.PersistentFlags())
	help := p.helpCommand()
	help.DisableFlagsInUseLine = true
	root.SetHelpCommand(help)
	commands := []*cobra.Command{
		p.provisionCommand(), p.updateCommand(), p.fetchCommand(), p.deprovisionCommand(),
		p.eventCommand(), p.ssoCommand(), p.checkCommand(), p.serveCommand(), p.explainCommand(), p.sendCommand(), p.replayCommand(),
	}
	for _, cmd := range commands {
		p.prepare(cmd)
		root.AddCommand(cmd)
	}
	for _, cmd := range append(commands, root, help) {
		cmd.Flags().SortFlags = false
		cmd.Flags().BoolP("help", "h", false, "show this help")
	}
	root.Flags().Bool("version", false, "show the version")
	return root
}

// prepare adds to a command the steps before its run: --help-all comes first, then
// the check of the arguments, then the settings.
func (p *program) prepare(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	args := cmd.Args
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		if p.helpAll {
			return pflag.ErrHelp // makes cobra show the help
		}
		return args(cmd, given)
	}
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return p.resolve(cmd) }
}

// flagError describes an invalid flag. Unlike pflag's errors it never contains the
// value, which may be a secret.
func flagError(cmd *cobra.Command, err error) error {
	help := "; " + cmd.CommandPath() + " --help-all lists all flags"
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if name := e.GetSpecifiedShortnames(); name != "" {
			return usagef("unknown flag -%s; flags other than -v and -h begin with two dashes%s", e.GetSpecifiedName(), help)
		}
		return usagef("unknown flag --%s%s", e.GetSpecifiedName(), help)
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return usagef("invalid value of --%s; use %s", e.GetFlag().Name, expectedValue(e.GetFlag()))
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return usagef("missing value of --%s; use %s", e.GetFlag().Name, expectedValue(e.GetFlag()))
	}
	return usagef("invalid syntax of a flag%s", help)
}

// expectedValue describes the values of a flag by their type.
func expectedValue(flag *pflag.Flag) string {
	switch flag.Value.Type() {
	case "duration":
		return "a duration such as 30s"
	case "int":
		return "a number"
	case "bool":
		return "true, false or no value"
	case "stringToString":
		return "word=status"
	}
	return "--" + flag.Name + "=VALUE"
}

// oneID accepts the id of an extension as the only argument.
func oneID(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0 || args[0] == "":
		return usagef("missing id of the extension; %s takes the id that flysim provision shows", cmd.CommandPath())
	case len(args) > 1:
		return usagef("too many arguments; %s takes one id", cmd.CommandPath())
	}
	return nil
}

// noArguments accepts no arguments. Its error repeats only a URL, because any other
// argument may be a secret.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if u, err := url.Parse(args[0]); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return usagef("unexpected argument %s; use --base-url %s", u.Redacted(), u.Redacted())
	}
	return usagef("unexpected argument; %s takes flags only", cmd.CommandPath())
}

// baseURLArgument accepts the base URL as the only argument, or no argument.
func baseURLArgument(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case len(args) > 1 || !strings.HasPrefix(args[0], "http://") && !strings.HasPrefix(args[0], "https://"):
		return usagef("unexpected argument; %s takes the base URL, such as http://localhost:8080/flyio", cmd.CommandPath())
	case cmd.Flags().Changed("base-url"):
		return usagef("the base URL is set twice; use either the argument or --base-url")
	}
	return cmd.Flags().Set("base-url", args[0])
}
