package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flyext/flyext"
)

// dotenv returns secrets as lines that a POSIX shell can source, and that most
// readers of .env files read in the same way. The secrets must have passed
// checkEnv. A secret is in a comment if its name does not begin with the prefix, or
// if the prefix is "". The reason: a sourced file sets each variable that it names,
// and a later program may run the value of some variable as a command.
func dotenv(secrets flyext.Secrets, prefix string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		line := name + "=" + shellQuote(secrets[name])
		switch {
		case prefix == "":
			b.WriteString("# not set; --prefix is missing:\n")
		case !strings.HasPrefix(name, prefix):
			fmt.Fprintf(&b, "# not set; the name does not begin with %s:\n", prefix)
		default:
			b.WriteString(line + "\n")
			continue
		}
		b.WriteString("# " + lineBreaks.Replace(line) + "\n")
	}
	return b.String()
}

// lineBreaks begins a new line of the comment at each line break of a secret. The list
// has every character that a reader of .env files may take for the end of a line: a
// shell knows only the first, and Python's splitlines knows all. The text after such a
// character would otherwise set a variable.
var lineBreaks = strings.NewReplacer(
	"\n", nextComment, "\r\n", nextComment, "\r", nextComment, "\v", nextComment, "\f", nextComment,
	"\x1c", nextComment, "\x1d", nextComment, "\x1e", nextComment, "\u0085", nextComment, "\u2028", nextComment, "\u2029", nextComment,
)

const nextComment = "\n# "

// checkPrefix returns an error for a prefix that would allow the variables of a
// shell.
func checkPrefix(prefix string) error {
	if prefix != "" && (!isEnvName(prefix) || len(prefix) < 3 || !strings.HasSuffix(prefix, "_") || isObeyed(prefix+"A")) {
		return usagef("--prefix: invalid prefix %q; use the beginning of your secrets' names, such as LOGJAM_", prefix)
	}
	return nil
}

// suggestedPrefix returns the prefix that all names share, up to the first
// underscore. Without one it returns an example.
func suggestedPrefix(secrets flyext.Secrets) string {
	common := ""
	for name := range secrets {
		prefix, _, ok := strings.Cut(name, "_")
		prefix += "_"
		if !ok || checkPrefix(prefix) != nil || common != "" && common != prefix {
			return "YOURS_"
		}
		common = prefix
	}
	return common
}

// inDoubleQuotes escapes the characters that a shell interprets in double quotes
// (POSIX.1-2017, Shell Command Language, section 2.2.3).
var inDoubleQuotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")

// shellQuote quotes a text for a shell. It uses double quotes only for a text with a
// single quote, which single quotes cannot contain.
func shellQuote(text string) string {
	if !strings.Contains(text, "'") {
		return "'" + text + "'"
	}
	return `"` + inDoubleQuotes.Replace(text) + `"`
}

// isEnvName reports whether an environment variable can have a name (POSIX.1-2017,
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

// obeyed lists variables that a shell, the loader or an interpreter obeys. Many can
// contain a command: a shell runs PROMPT_COMMAND at the next prompt, and bash
// evaluates a value that is assigned to RANDOM. The list cannot be complete, so
// dotenv also needs a prefix.
var obeyed = strings.Fields(`
	ALIASES ARGV ARGV0 AUTO_RESUME BROWSER CDPATH CHILD_MAX COLUMNS COMMANDS COPROC DIRSTACK DIRSTACKSIZE EDITOR EGID ENV EPOCHREALTIME
	EPOCHSECONDS ERRNO EUID EXECIGNORE FCEDIT FIGNORE FPATH FUNCNAME FUNCNEST FUNCTIONS GID GLOBIGNORE GLOBSORT GROUPS HOME HOSTFILE
	IFS IGNOREEOF INPUTRC KEYTIMEOUT LANG LESSCLOSE LESSOPEN LINENO LINES MAIL MAILCHECK MAILPATH MANPATH MAPFILE MODULE_PATH NULLCMD
	OLDPWD OPTARG OPTERR OPTIND OPTIONS PAGER PARAMETERS PATH PIPESTATUS POSIXLY_CORRECT PPID PROMPT PS0 PS1 PS2 PS3 PS4 PSVAR PWD RANDOM
	READNULLCMD REPLY RPROMPT RPS1 RPS2 SECONDS SHELL SHELLOPTS SHLVL SPROMPT SRANDOM STATUS TERM TIMEFORMAT TMOUT TMPDIR TRY_BLOCK_ERROR
	UID USERNAME VISUAL WATCH WATCHFMT WORDCHARS ZDOTDIR _JAVA_OPTIONS JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS`)

// obeyedPrefixes are the prefixes of such variables.
var obeyedPrefixes = strings.Fields("BASH COMP_ DYLD_ GIT_ HIST LC_ LD_ NODE_ NPM_CONFIG_ PERL PROMPT_ PYTHON READLINE_ RUBY SSH_ ZLE_ ZSH")

// isObeyed reports whether a shell, the loader or an interpreter obeys a variable.
// Case does not matter, because path is PATH in zsh.
func isObeyed(name string) bool {
	name = strings.ToUpper(name)
	return slices.Contains(obeyed, name) || slices.ContainsFunc(obeyedPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) ||
		strings.HasSuffix(name, "_FUNCTIONS") // zsh runs precmd_functions before each prompt
}
