package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/flyext/flyext"
)

// dotenv returns secrets as lines that a POSIX shell can source, and that most
// readers of .env files read alike. They have passed checkEnv.
func dotenv(secrets flyext.Secrets) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		b.WriteString(name + "=" + shellQuote(secrets[name]) + "\n")
	}
	return b.String()
}

// inDoubleQuotes escapes what is not itself there (POSIX.1-2017, Shell Command
// Language, section 2.2.3).
var inDoubleQuotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")

// shellQuote quotes a text for a shell. A single quote in it is the one thing
// that cannot be in single quotes.
func shellQuote(text string) string {
	if !strings.Contains(text, "'") {
		return "'" + text + "'"
	}
	return `"` + inDoubleQuotes.Replace(text) + `"`
}

// isEnvName says whether a name can be an environment variable's (POSIX.1-2017,
// section 8.1).
func isEnvName(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// obeyed are the variables that a shell, the loader or an interpreter takes
// orders from. Most can hold a command: PROMPT_COMMAND is run at the next prompt.
var obeyed = strings.Fields("BASHOPTS BASH_ENV CDPATH ENV EUID FPATH HISTFILE HOME IFS NODE_OPTIONS OPTIND PATH PERL5OPT POSIXLY_CORRECT PPID PROMPT PROMPT_COMMAND PS0 PS1 PS2 PS3 PS4 PYTHONPATH PYTHONSTARTUP RUBYOPT SHELL SHELLOPTS UID ZDOTDIR")

// isObeyed says whether to set a variable is to give an order. In zsh, path is
// PATH.
func isObeyed(name string) bool {
	return slices.Contains(obeyed, strings.ToUpper(name)) || strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "DYLD_")
}
