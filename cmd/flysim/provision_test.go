package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/programtest"
	"github.com/joho/godotenv"
)

func TestLifeOfAnExtension(t *testing.T) {
	t.Parallel()
	for _, format := range flytest.Formats() {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			m := &memory{}
			term := newTerminal(m.serve(t, "", 0))
			args := func(more ...string) []string { return append(more, "--format", string(format)) }

			made := term.run(t, args("provision", "--prefix", "LOGJAM_", "--id", "abc/1", "--name", "shop", "--option", "plan=pro", "--option", `size={"gb":3}`)...).want(t, 0)
			if got, want := made.stdout, "LOGJAM_URL=\"https://abc/1:pass'word\\$@logjam.example\"\n"; got != want {
				t.Errorf("standard output is\n%s, want\n%s", got, want)
			}
			contains(t, made.stderr, "Your Example extension (shop) is ready.", "LOGJAM_URL: https://abc/1:pass'word$@logjam.example\n", "Id of the extension: abc/1\n")
			got := m.request("abc/1")
			if string(got.Extra["plan"]) != `"pro"` || string(got.Extra["size"]) != `{"gb":3}` {
				t.Errorf("the options are %s", got.Extra)
			}

			term.run(t, args("update", "abc/1", "--no-read-regions", "--unset", "plan", "--region", "ams")...).want(t, 0)
			update := m.lastUpdate(t)
			if regions, ok := update.ReadRegions.Get(); !ok || len(regions) != 0 {
				t.Errorf("the read regions are %v, want the empty list", update.ReadRegions)
			}
			if string(update.Extra["plan"]) != "null" || update.PrimaryRegion.Value != "ams" || update.Name.Present {
				t.Errorf("the update is %+v", update)
			}

			if format == flytest.FormatCavage {
				return // cavage has no nonce, so two equal requests in a second are a replay
			}
			contains(t, term.run(t, args("fetch", "abc/1")...).want(t, 0).stdout, "id       abc/1\nname     shop\nstatus   ready\n")
			contains(t, term.run(t, args("deprovision", "abc/1")...).want(t, 0).stdout, "Deprovisioned abc/1.\n")
			contains(t, words(term.run(t, args("fetch", "abc/1")...).want(t, 1).stderr),
				"flysim: the provider answered with 404 Not Found (not_found): There is no such stream.")
		})
	}
}

func TestProvisionMakesUpWhatIsMissing(t *testing.T) {
	t.Parallel()
	m := &memory{}
	term := newTerminal(m.serve(t, "", 0))
	var first, second jsonCreation
	term.run(t, "provision", "--json").want(t, 0).decode(t, &first)
	term.run(t, "provision", "--json").want(t, 0).decode(t, &second)
	if first.ID == "" || first.ID == second.ID {
		t.Errorf("the ids are %q and %q", first.ID, second.ID)
	}
	got := m.request(first.ID)
	want := flyext.ProvisionRequest{
		ID: first.ID, Name: "collider-" + first.ID,
		OrganizationID: defaultOrganization, OrganizationName: "Supercollider", OrganizationEmail: "g1lx9my4pzemqwk7@customer.fly.io",
		UserID: defaultUser, UserEmail: "k9d01lp82rky6vo2@customer.fly.io", UserRole: "admin", PrimaryRegion: "mad",
	}
	if got.Name != want.Name || got.OrganizationEmail != want.OrganizationEmail || got.UserEmail != want.UserEmail ||
		got.PrimaryRegion != want.PrimaryRegion || got.OrganizationID != want.OrganizationID || got.UserRole != want.UserRole {
		t.Errorf("the request is %+v, want %+v", got, want)
	}
	if first.Secrets["LOGJAM_URL"] == "" || !strings.Contains(first.Terminal, "is ready") {
		t.Errorf("the document is %+v", first)
	}
}

func TestProvisionParams(t *testing.T) {
	t.Parallel()
	m := &memory{}
	term := newTerminal(m.serve(t, "", 0))
	term.stdin = `{"website": {"domain": "a.example"}, "public": true}`
	term.run(t, "provision", "--id", "p", "--params", "-", "--ip", "fdaa:0:47fb::1f",
		"--read-region", "fra", "--read-region", "syd", "--option", "note=a=b").want(t, 0)
	got := m.request("p")
	if string(got.Extra["website"]) != `{"domain": "a.example"}` && string(got.Extra["website"]) != `{"domain":"a.example"}` {
		t.Errorf("website is %s", got.Extra["website"])
	}
	if string(got.Extra["note"]) != `"a=b"` || len(got.ReadRegions) != 2 || got.IPAddress.String() != "fdaa:0:47fb::1f" {
		t.Errorf("the request is %+v", got)
	}
}

func TestProvisionWaits(t *testing.T) {
	t.Parallel()
	m := &memory{polls: 1}
	made := newTerminal(m.serve(t, "", 0)).run(t, "provision", "--name", "shop").want(t, 0)
	contains(t, made.stderr, "Your Example extension (shop) is ready.")
}

func TestProvisionFails(t *testing.T) {
	t.Parallel()
	m := &memory{failed: "No room in mad."}
	term := newTerminal(m.serve(t, "", 0))
	text := term.run(t, "provision", "--id", "x").want(t, 1)
	contains(t, text.stderr, "Error: No room in mad.\n", "flysim: No room in mad.\n")
	if text.stdout != "" {
		t.Errorf("standard output is %q", text.stdout)
	}
	var doc jsonCreation
	term.run(t, "provision", "--id", "x", "--json").want(t, 1).decode(t, &doc)
	if doc.Error == nil || doc.Error.Message != "No room in mad." {
		t.Errorf("the document is %+v", doc)
	}
	contains(t, term.run(t, "fetch", "x", "--wait").want(t, 1).stdout, "status   error\nmessage  No room in mad.\n")
}

// hostile lists values that a shell could misinterpret.
var hostile = flyext.Secrets{
	"EMPTY": "", "SPACE": " a  b ", "SINGLE": "it's", "DOUBLE": `say "hi"`, "BOTH": `'"`,
	"DOLLAR": "$HOME ${HOME} $(echo pwned)", "TICKS": "`echo pwned`", "QUOTED_DOLLAR": "'$(echo pwned)`echo pwned`",
	"BACKSLASH": `a\nb\\c\`, "QUOTED_BACKSLASH": `'a\nb\\c\"`, "LINES": "one\ntwo\n", "QUOTED_LINES": "it's\ntwo\n\n",
	"UNICODE": "größe 🎈 \u2028", "HASH": "#no comment", "BANG": "!!", "GLOB": "*", "TILDE": "~", "SEMICOLON": "; echo pwned", "TAB": "a\tb",
	"CR": "\rNODE_OPTIONS=--require /tmp/x.js\r", "BREAKS": "a\v\f\u0085\u2029\x1eb",
}

// prefixed returns secrets under names that begin with a prefix.
func prefixed(prefix string, secrets flyext.Secrets) flyext.Secrets {
	all := flyext.Secrets{}
	for name, value := range secrets {
		all[prefix+name] = value
	}
	return all
}

// shells are the shells in which the tests source a file.
var shells = []string{"sh", "bash", "dash", "zsh"}

// sourcing returns the output of a script in a shell that has sourced secrets. It
// adds "pwned" if an attack made a file of that name.
func sourcing(t *testing.T, shell, secrets, script string) string {
	t.Helper()
	cmd := exec.Command(programtest.Path(t, shell, shell), "-c", `. ./app.env; `+script)
	cmd.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(cmd.Dir, "app.env"), []byte(secrets), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if _, err := os.Stat(filepath.Join(cmd.Dir, "pwned")); err == nil {
		return string(got) + "pwned"
	}
	return string(got)
}

func TestSecretsCanBeSourced(t *testing.T) {
	t.Parallel()
	for _, shell := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			m := &memory{secrets: func(string) flyext.Secrets { return prefixed("LOGJAM_", hostile) }}
			made := newTerminal(m.serve(t, "", 0)).run(t, "provision", "--prefix", "LOGJAM_").want(t, 0)
			for name, want := range hostile {
				// The x keeps the newlines at the end, which $() drops otherwise.
				if got := sourcing(t, shell, made.stdout, `printf '%sx' "$LOGJAM_`+name+`"`); got != want+"x" {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

// TestSourcingSetsWhatIsAllowed: a sourced file sets a variable only if the user
// allows its name with a prefix.
func TestSourcingSetsWhatIsAllowed(t *testing.T) {
	t.Parallel()
	const attack = "a[$(touch pwned)]"
	secrets := flyext.Secrets{"LOGJAM_TOKEN": "token", "NEWSHELL_HOOK": attack, "LOGJAMX": "x\nLOGJAM_EVIL=1\n'touch pwned"}
	for _, shell := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			m := &memory{secrets: func(string) flyext.Secrets { return secrets }}
			term := newTerminal(m.serve(t, "", 0))
			const script = `printf '%s,%s,%s,%s' "$LOGJAM_TOKEN" "$NEWSHELL_HOOK" "$LOGJAMX" "$LOGJAM_EVIL"`
			made := term.run(t, "provision").want(t, 0)
			if got := sourcing(t, shell, made.stdout, script); got != ",,," {
				t.Errorf("without a prefix the variables are %q", got)
			}
			contains(t, made.stdout, "# not set; --prefix is missing:\n# NEWSHELL_HOOK='"+attack+"'\n")
			contains(t, words(made.stderr), "Add --prefix YOURS_ to write variables.")
			for _, made := range []output{
				term.run(t, "provision", "--prefix", "LOGJAM_").want(t, 0),
				term.with("FLYSIM_SECRET_PREFIX", "LOGJAM_").run(t, "provision").want(t, 0),
			} {
				if got := sourcing(t, shell, made.stdout, script); got != "token,,," {
					t.Errorf("with a prefix the variables are %q", got)
				}
				contains(t, made.stdout, "# not set; the name does not begin with LOGJAM_:\n# NEWSHELL_HOOK='"+attack+"'\n")
			}
		})
	}
	t.Run("the attack", func(t *testing.T) {
		if got := sourcing(t, "bash", "RANDOM='"+attack+"'\n", "true"); !strings.HasSuffix(got, "pwned") {
			t.Skipf("this bash does not evaluate RANDOM: %q", got)
		}
	})
	term := newTerminal((&memory{}).serve(t, "", 0))
	contains(t, words(term.run(t, "provision").want(t, 0).stderr), "Add --prefix LOGJAM_ to write variables.")
	for _, prefix := range []string{"R", "_", "LD_", "BASH_", "1_", "A;_", "LOGJAM"} {
		contains(t, term.run(t, "provision", "--prefix", prefix).want(t, exitUsage).stderr, "--prefix: ")
	}
}

// TestSecretsCanBeReadByDotenv: a reader of .env files and a shell read the same
// values. Values with a backslash or with both kinds of quotes are exceptions.
func TestSecretsCanBeReadByDotenv(t *testing.T) {
	t.Parallel()
	for name, want := range hostile {
		if strings.Contains(want, `\`) || strings.Contains(want, "'") && strings.Contains(want, `"`) {
			continue
		}
		got, err := godotenv.Unmarshal(dotenv(flyext.Secrets{name: want}, name[:1]))
		if err != nil || got[name] != want {
			t.Errorf("%s is %q, %v, want %q", name, got[name], err, want)
		}
	}
}

// TestCommentsHoldEveryLine: for each character that a reader may take for the end of a
// line, each line of a secret that is not set is in a comment.
func TestCommentsHoldEveryLine(t *testing.T) {
	t.Parallel()
	const breaks = "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029"
	for _, end := range append(strings.Split(breaks, ""), "\r\n") {
		for _, prefix := range []string{"", "LOGJAM_"} {
			got := dotenv(flyext.Secrets{"TOKEN": end + "NODE_OPTIONS=--require /tmp/x.js" + end + "LOGJAM_EVIL=1"}, prefix)
			lines := strings.FieldsFunc(got, func(r rune) bool { return strings.ContainsRune(breaks, r) })
			for _, line := range lines {
				if !strings.HasPrefix(line, "# ") {
					t.Errorf("%q with the prefix %q: the line %q is not in a comment", end, prefix, line)
				}
			}
			if len(lines) < 4 || !strings.Contains(got, "\n# NODE_OPTIONS=--require /tmp/x.js\n# LOGJAM_EVIL=1'\n") {
				t.Errorf("%q with the prefix %q: got %q", end, prefix, got)
			}
		}
	}
}

// TestSecretNamesAreNoCommands: flysim rejects an invalid name, which a shell would
// run as a command.
func TestSecretNamesAreNoCommands(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "1A", "A B", "A;touch pwned;B", "A\nB", "Ä", "A-B", "$(touch pwned)"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"id": "x", "config": {` + strconv.Quote(name) + `: "value"}}`))
		}))
		made := newTerminal(server.URL).run(t, "provision").want(t, 1)
		server.Close()
		if made.stdout != "" {
			t.Errorf("%q: standard output is %q", name, made.stdout)
		}
		contains(t, words(made.stderr), "has an invalid name for an environment variable")
	}
	if err := checkEnv(flyext.Secrets{"A": "a\x00b"}); err == nil {
		t.Error("a value with a NUL is accepted, want an error")
	}
}

// TestSecretNamesAreNoOrders: flysim rejects the names of variables that a shell
// obeys.
func TestSecretNamesAreNoOrders(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"PROMPT_COMMAND", "PATH", "path", "IFS", "PS1", "BASH_ENV", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES",
		"NODE_OPTIONS", "RANDOM", "SRANDOM", "HISTCMD", "MAILPATH", "SECONDS", "LINENO", "OPTIND", "GIT_SSH_COMMAND", "precmd_functions",
	} {
		for _, args := range [][]string{{"provision"}, {"provision", "--json"}} {
			m := &memory{secrets: func(string) flyext.Secrets { return flyext.Secrets{name: "touch pwned"} }}
			made := newTerminal(m.serve(t, "", 0)).run(t, args...).want(t, 1)
			if len(args) == 1 && made.stdout != "" {
				t.Errorf("%s: standard output is %q", name, made.stdout)
			}
			contains(t, words(made.stderr), name+" has the name of a variable that shells or other programs obey")
		}
	}
	if err := checkEnv(flyext.Secrets{"LOGJAM_PATH": "", "PATHS": "", "OLD_PS1": "", "HOMEPAGE": ""}); err != nil {
		t.Error(err)
	}
}

// TestTerminalIsNotObeyed: an answer of the provider cannot control the terminal.
func TestTerminalIsNotObeyed(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		w.Write([]byte(`{"error": "\u001b[2J", "message": "\u001b]0;owned\u0007 \u202e\u0085 \r"}`))
	}))
	defer server.Close()
	for _, args := range [][]string{{"provision"}, {"provision", "-v"}, {"fetch", "x"}, {"provision", "--json"}, {"check"}} {
		got := newTerminal(server.URL).run(t, args...).want(t, 1)
		if text := got.stdout + got.stderr; strings.ContainsAny(text, "\x1b\a\r\u202e\u0085") {
			t.Errorf("%v: the output has control characters: %q", args, text)
		}
	}
}

// TestCommonWordForASecret: flysim does not redact the word "secret", which is the
// secret in the README's examples.
func TestCommonWordForASecret(t *testing.T) {
	t.Parallel()
	got := newTerminal((&memory{}).serve(t, "", 0)).with("FLYIO_SIGNING_SECRET", shortSecret).run(t, "provision").want(t, 0)
	contains(t, got.stderr, "Set the following secrets on your target app.\n")
}
