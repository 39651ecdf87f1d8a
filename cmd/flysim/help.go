package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const helpHelp = `Help describes a command and lists its flags. Without an argument it lists the
commands and the flags of all commands.

  flysim help check`

func (p *program) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Describe a command", Long: helpHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				p.showHelp(cmd.Root())
				return nil
			case 1:
				return p.helpOf(cmd.Root(), args[0])
			}
			return usagef("too many arguments; %s takes one command", cmd.CommandPath())
		},
	}
}

func (p *program) helpOf(root *cobra.Command, name string) error {
	for _, cmd := range root.Commands() {
		if cmd.Name() == name {
			p.showHelp(cmd)
			return nil
		}
	}
	return unknownCommand(root, name)
}

// unknownCommand returns an error that suggests similar names.
func unknownCommand(root *cobra.Command, name string) error {
	near := root.SuggestionsFor(name)
	if len(near) == 0 {
		return usagef("unknown command %q; flysim help lists all commands", name)
	}
	return usagef("unknown command %q; did you mean %s? flysim help lists all commands", name, strings.Join(near, " or "))
}

// showHelp writes the help of a command to standard output. The flags that all
// commands share are part of the help of flysim itself, and of a command's with
// --help-all.
func (p *program) showHelp(cmd *cobra.Command) {
	out, isRoot := p.out, !cmd.HasParent()
	out.prose(cmd.Long)
	out.blank()
	out.line(plain, "", "Usage:")
	if isRoot {
		out.line(plain, "  ", cmd.Name()+" COMMAND [flags]")
		out.blank()
		out.line(plain, "", "Commands:")
		for _, command := range cmd.Commands() {
			if !command.Hidden {
				out.hang(plain, fmt.Sprintf("  %-*s  ", cmd.NamePadding(), command.Name()), command.Short)
			}
		}
	} else {
		out.line(plain, "  ", cmd.UseLine())
	}
	out.flagList("Flags:", cmd.LocalNonPersistentFlags())
	if isRoot || p.helpAll {
		out.flagList("Flags of all commands:", cmd.Root().PersistentFlags())
	}
	switch {
	case isRoot:
		out.blank()
		out.wrap(plain, "", `Run "flysim COMMAND --help" for the help of a command.`)
	case !p.helpAll:
		out.blank()
		out.wrap(plain, "", `Run "flysim help" for the flags of all commands.`)
	}
}

// flagList writes flags and their descriptions, in the order of the source.
func (p *page) flagList(title string, flags *pflag.FlagSet) {
	flags.SortFlags = false
	p.blank()
	p.line(plain, "", title)
	p.raw(flags.FlagUsagesWrapped(p.columns()))
}

// prose writes a text that has line breaks in the source. It joins the lines of
// a paragraph and wraps them. It keeps an indented line, such as a command, and
// wraps it only if two spaces divide it into a label and a text.
func (p *page) prose(text string) {
	paragraph := ""
	end := func() {
		if paragraph != "" {
			p.wrap(plain, "", paragraph)
		}
		paragraph = ""
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" && line[0] != ' ' {
			paragraph += line + " "
			continue
		}
		end()
		_, after, isLabelled := strings.Cut(strings.TrimLeft(line, " "), "  ")
		if after = strings.TrimLeft(after, " "); isLabelled {
			p.hang(plain, strings.TrimSuffix(line, after), after)
		} else {
			p.line(plain, "", line)
		}
	}
	end()
}
